"""A run from folder to metrics, and what its directory is good for afterwards."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from app import Recipe, Run, Stage, evaluate, export, override, run
from app.backbones.blocks import base_of
from app.errors import DataError, RecipeError, RunError, WeightsError
from app.exports.prediction import Export
from app.run_directory import open_run
from app.runs import load_model
from app.settings import to_json
from tests.conftest import MATERIAL, ROOT, make_photos


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_directory_holds_everything_about_the_run(finished: Run) -> None:
    files = [path for path in finished.directory.rglob("*") if path.name[0] != "."]
    names = {str(path.relative_to(finished.directory)) for path in files}
    events = {name for name in names if name.startswith("tensorboard/events")}
    assert events
    assert names - events == {
        "recipe.json",
        "manifest.json",
        "splits.csv",
        "history.csv",
        "checkpoints",
        "checkpoints/00000012.npz",
        "checkpoints/00000018.npz",
        "tensorboard",
        "model.keras",
        "metrics.json",
        "predictions.csv",
        "log.txt",
    }


def test_metrics_are_by_split_with_an_interval(finished: Run) -> None:
    metrics = json.loads((finished.directory / "metrics.json").read_text())
    assert set(metrics) == {"validation", "test"}
    accuracy = metrics["test"]["accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert metrics["test"]["count"] == 9


def test_a_trained_model_tells_the_classes_apart(finished: Run) -> None:
    assert finished.metrics["test"]["accuracy"]["value"] >= 0.7


def test_metrics_are_those_of_the_answers_written_down(finished: Run) -> None:
    rows = [row for row in table(finished.predictions) if row["split"] == "test"]
    right = sum(row["label"] == row["class"] for row in rows) / len(rows)
    assert right == pytest.approx(finished.metrics["test"]["accuracy"]["value"])


def test_splits_name_every_image_once_with_its_hash(finished: Run, photos: Path) -> None:
    rows = table(finished.splits)
    assert sorted(row["path"] for row in rows) == sorted(map(str, photos.rglob("*.jpg")))
    assert all(len(row["sha256"]) == 64 for row in rows)
    counts = {name: [row["split"] for row in rows].count(name) for name in ("train", "test")}
    assert counts == {"train": 42, "test": 9}


def test_the_manifest_tells_data_classes_versions_and_hardware(finished: Run) -> None:
    manifest = finished.manifest
    assert manifest["class_names"] == ["2", "10", "fern leaf"]
    assert len(manifest["data"]["fingerprint"]) == 64
    assert manifest["versions"]["tensorflow"] == tf.__version__
    # Operations are divided among more threads than most machines have processors.
    assert 1 <= manifest["hardware"]["processors"] <= (os.cpu_count() or 1)
    assert manifest["hardware"]["threads"] >= 1


def test_a_run_is_evaluated_again_to_the_same_metrics(finished: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(finished.directory, tmp_path / "copy")), finished.recipe)
    (copy.directory / "metrics.json").unlink()
    assert evaluate(copy) == finished.metrics


def test_a_run_is_rerun_from_its_directory_to_the_same_weights(
    finished: Run, tmp_path: Path
) -> None:
    again = run(open_run(finished.directory).recipe, tmp_path / "again")
    first, second = (load_model(each).get_weights() for each in (finished, again))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))
    assert again.metrics == finished.metrics


def test_batch_norm_of_the_backbone_is_as_it_was_before_the_run(finished: Run) -> None:
    # Fresh BatchNorm has mean 0 and variance 1, and no stage let it train.
    for layer in base_of(load_model(finished)).layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert not np.asarray(layer.moving_mean).any()
            assert (np.asarray(layer.moving_variance) == 1).all()


def test_the_log_holds_what_was_said(finished: Run) -> None:
    log = (finished.directory / "log.txt").read_text()
    assert "60 images of 3 classes: train 42, validation 9, test 9" in log
    assert "the backbone starts from random weights" in log
    assert "stage fine_tune: the head and stage4_block1 to stage4_block2" in log


def test_a_run_without_its_images_says_which_are_gone(finished: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(finished.directory, tmp_path / "copy")), finished.recipe)
    text = copy.splits.read_text()
    copy.splits.write_text(text.replace(str(Path(finished.recipe.data.source)), "/gone"))
    with pytest.raises(RunError, match=r"18 images that .* are gone or changed, such as /gone/"):
        evaluate(copy)


def test_a_run_is_not_measured_on_other_images_in_the_place_of_its_own(
    tiny: Recipe, tmp_path: Path
) -> None:
    folder = make_photos(tmp_path / "photos", ("cat", "dog"), 6)
    one = replace(override(tiny, {"source": str(folder)}), stages={"only": Stage(epochs=1)})
    finished = run(one, tmp_path / "run")
    before = finished.metrics
    first, *_ = finished.test_images()
    other = next(path for path in folder.rglob("*.jpg") if path not in finished.test_images())
    shutil.copy(other, first)
    with pytest.raises(RunError, match=rf"1 images .* such as {first}"):
        evaluate(finished)
    assert finished.metrics == before


def test_a_run_that_started_beside_its_images_is_evaluated_from_anywhere(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photos(tmp_path / "here" / "photos", ("cat", "dog"), 6)
    (tmp_path / "there").mkdir()
    one = replace(override(tiny, {"source": "photos"}), stages={"only": Stage(epochs=1)})
    monkeypatch.chdir(tmp_path / "here")
    finished = run(one, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "there")
    assert evaluate(finished)["test"]["count"] == 2


def test_a_run_without_its_model_is_unfinished(finished: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(finished.directory, tmp_path / "copy")), finished.recipe)
    copy.model.unlink()
    for verb in (evaluate, lambda each: export(each, tmp_path / "exports")):
        with pytest.raises(RunError, match="its training did not finish"):
            verb(copy)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"source": "nowhere"}, DataError, "nowhere does not exist"),
        ({"weights": "imagenet"}, WeightsError, "no ImageNet weights for compact"),
        ({"weights": "lost.h5"}, WeightsError, "no weights at lost.h5"),
        ({"image_size": 16}, RecipeError, "too small for compact"),
        ({"backbone": "compakt"}, RecipeError, "Did you mean 'compact'"),
    ],
)
def test_a_false_start_leaves_no_directory(
    tiny: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    error: type[Exception],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=says):
        run(override(tiny, changes))
    assert list(tmp_path.rglob("recipe.json")) == []


def test_an_unknown_block_is_answered_before_a_stage_is_trained(
    tiny: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="no block 'block_99'"):
        run(override(tiny, {"fine_tune.unfreeze": "block_99"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unreadable_images_are_counted_and_left_out(
    tiny: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_photos(tmp_path / "photos", ("cat", "dog"), 12)
    (folder / "cat" / "note.jpg").write_text("no image")
    recipe = replace(
        override(tiny, {"source": str(folder)}), stages={"only": Stage(epochs=1)}, name="two"
    )
    with caplog.at_level("INFO", "graft"):
        finished = run(recipe, tmp_path / "run")
    assert "note.jpg" in caplog.text
    assert "1 unreadable left out" in caplog.text
    assert len(finished.manifest["data"]["unreadable"]) == 1
    # And two classes have one sigmoid.
    assert load_model(finished).output.shape == (None, 1)


def test_a_run_in_mixed_precision_under_xla_is_exported_and_agrees(
    tiny: Recipe, tmp_path: Path, python: Callable
) -> None:
    (tmp_path / "recipe.json").write_text(to_json(tiny))
    code = "from app.cli import graft; graft()"
    settings = "--run-dir run --precision mixed_bfloat16 --jit_compile true --epochs 1"
    settings += " --deterministic false"
    done = python("-c", code, "train", "recipe.json", *settings.split())
    assert done.returncode == 0, done.stderr[-2000:]
    assert "XLA compiles the steps" in done.stderr
    assert "Proceeding with `jit_compile=False`" not in done.stderr
    finished = open_run(tmp_path / "run")
    assert finished.manifest["precision"] == "mixed_bfloat16"
    rows = {row["file"]: row for row in table(finished.predictions)}
    for answer in Export(export(finished, tmp_path)).predict(finished.test_images()):
        row = rows[str(answer.path)]
        wanted = [float(row[f"probability_{name}"]) for name in finished.manifest["class_names"]]
        # Half floats have 8 bits of mantissa.
        np.testing.assert_allclose(answer.probabilities, wanted, atol=0.02)


@pytest.mark.slow
@pytest.mark.skipif(not MATERIAL.exists(), reason="needs ../shared/material")
def test_flowers_reach_what_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.recipe_file import load_recipe_file

    monkeypatch.setenv("KERAS_HOME", str(MATERIAL / "keras_home"))
    recipe = load_recipe_file(ROOT / "recipes" / "folder.py").recipe
    source = str(MATERIAL / "datasets" / "flowers")
    asked = {"data.source": source, "backbone": "mobilenet_v2", "image_size": 224}
    transferred = run(override(recipe, asked), tmp_path / "transferred")
    assert transferred.metrics["test"]["accuracy"]["value"] >= 0.87
    scratch = run(override(recipe, {**asked, "weights": "none"}), tmp_path / "scratch")
    assert scratch.metrics["test"]["accuracy"]["value"] <= 0.6
