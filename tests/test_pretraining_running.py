"""Pretraining, from images to a backbone that a recipe starts from."""

from __future__ import annotations

import csv
import math
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

from app import Pretraining, Recipe, Unlabelled, run
from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.data.generated import generate
from app.errors import CollapseError, DataError, RunError, WeightsError
from app.pretrain_recipe import override
from app.pretraining import learning, running
from app.pretraining.running import Pretrained, pretrain
from app.pretraining.views import Views
from app.recipe import override as override_recipe
from app.training.checkpoints import Checkpoints
from tests.test_training_watching import shown

COMPACT = find_backbone("compact")
TINY = Pretraining(
    name="tiny",
    data=Unlabelled(generated=1.0, batch_size=8, image_size=32),
    projection=(16, 8),
    steps=4,
    checkpoint_steps=2,
)


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "graft")


@pytest.fixture(autouse=True, scope="module")
def few_views() -> Iterator[None]:
    """Views to learn descriptors from: 4,096 would take most of the time of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "LOOKED_AT", 256)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images at two depths, beside what is none."""
    place = tmp_path_factory.mktemp("unlabelled")
    (place / "deep" / "er").mkdir(parents=True)
    for number, image in enumerate(generate(range(20), 40)):
        inside = place / "deep" / "er" if number % 2 else place
        cv2.imwrite(str(inside / f"{number}.png"), image)
    (place / "notes.txt").write_text("no image")
    (place / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return place


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return pretrain(TINY, tmp_path_factory.mktemp("runs") / "tiny")


def weights_of(done: Pretrained) -> list[np.ndarray]:
    return keras.models.load_model(done.model, compile=False).get_weights()


def rows_of(done: Pretrained) -> list[dict[str, str]]:
    with (done.directory / "history.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("method", ["dcl", "barlow_twins", "byol", "classification"])
def test_every_method_learns_and_leaves_a_backbone(method: str, tmp_path: Path) -> None:
    weight = 0.0 if method == "classification" else 1.0
    done = pretrain(override(TINY, {"method": method, "descriptors": weight}), tmp_path / "run")
    rows = rows_of(done)
    assert [row["step"] for row in rows] == ["2", "4"]
    assert all(float(row["effective_rank"]) > 1 for row in rows)
    keras.utils.set_random_seed(TINY.seed)
    found, first = weights_of(done), build_backbone(COMPACT, 32, "none")[0].get_weights()
    assert all(np.isfinite(weight).all() for weight in found)
    moved = [not np.array_equal(one, other) for one, other in zip(found, first, strict=True)]
    assert all(moved), "a weight, or a statistic, is that of before"
    checkpoint = Checkpoints(done.directory / "checkpoints").latest()
    assert checkpoint is not None
    kept = [checkpoint.arrays[f"model/{number:05}"] for number in range(len(found))]
    for one, other in zip(found, kept, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_recipe_starts_from_what_was_pretrained(
    finished: Pretrained, tiny: Recipe, tmp_path: Path
) -> None:
    of_head = {"weights": str(finished.directory), "unfreeze": "head", "epochs": 1}
    trained = run(override_recipe(tiny, of_head), tmp_path / "run")
    base = keras.models.load_model(trained.model, compile=False).get_layer("backbone")
    for found, wanted in zip(base.get_weights(), weights_of(finished), strict=True):
        np.testing.assert_array_equal(found, wanted)


def changes_of(kind: str, folder: Path) -> dict[str, Any]:
    """Ways to pretrain that each have a state of their own."""
    if kind == "byol":
        return {"method": "byol"}
    return {"data.source": str(folder), "generated": 0.5, "descriptors": 1.0}


@pytest.mark.parametrize("kind", ["folder", pytest.param("byol", marks=pytest.mark.slow)])
def test_pretraining_goes_on_to_the_same_weights_after_a_stop(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = override(TINY, changes_of(kind, folder))
    finished = pretrain(recipe, tmp_path / "whole")
    write = Checkpoints.write

    def killed(self: Checkpoints, number: int, checkpoint: object) -> None:
        write(self, number, checkpoint)  # type: ignore[arg-type]  # handed on
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "model.keras").exists(), "what is half trained is not finished"
    monkeypatch.setattr(Checkpoints, "write", write)
    if recipe.descriptors:
        with (
            without(tmp_path / "run" / "descriptors.npz"),
            pytest.raises(RunError, match="missing"),
        ):
            pretrain(recipe, tmp_path / "run")
    again = pretrain(recipe, tmp_path / "run")
    for found, wanted in zip(weights_of(again), weights_of(finished), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert [row["loss"] for row in rows_of(again)] == [row["loss"] for row in rows_of(finished)]


@contextmanager
def without(file: Path) -> Iterator[None]:
    away = file.with_suffix(".away")
    file.rename(away)
    yield
    away.rename(file)


def test_descriptors_that_are_damaged_are_refused(tmp_path: Path) -> None:
    (tmp_path / "descriptors.npz").write_bytes(b"PK\x03\x04 and no more")
    views = Views(TINY, 32, None)
    with pytest.raises(RunError, match=r"descriptors.npz is damaged: .*; begin again in a new"):
        running._descriptors(views, tmp_path / "descriptors.npz")


def test_a_folder_is_learned_from_whatever_its_images_show(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = pretrain(override(TINY, {"data.source": str(folder), "generated": 0.25}), tmp_path / "a")
    assert done.model.is_file()
    assert "20 images" in caplog.text
    assert re.search(r"left out: .*broken.jpg", caplog.text)


def test_a_probe_says_how_well_classes_are_told(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = pretrain(override(TINY, {"data.probe": str(photos)}), tmp_path / "run")
    assert all(0 <= float(row["probe"]) <= 1 for row in rows_of(done))
    assert re.search(r"step 4/4  loss \d.*  effective rank \d.*  probe [01]\.\d+", caplog.text)
    told = shown(done.directory)
    for name in ("loss", "effective_rank", "probe"):
        assert told[name] == pytest.approx([float(row[name]) for row in rows_of(done)])


def test_what_is_finished_is_left_as_it_is(
    finished: Pretrained, caplog: pytest.LogCaptureFixture
) -> None:
    before = finished.model.read_bytes()
    pretrain(TINY, finished.directory)
    assert "is finished: nothing is left to do" in caplog.text
    assert finished.model.read_bytes() == before


def test_a_directory_of_another_recipe_is_refused(finished: Pretrained) -> None:
    with pytest.raises(RunError, match=r"begun with another recipe \(steps: 4 -> 5\)"):
        pretrain(override(TINY, {"steps": 5}), finished.directory)


def test_other_images_or_first_weights_than_at_the_beginning_are_refused(
    folder: Path, finished: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    shutil.copytree(folder, images)
    first = tmp_path / "first.keras"
    shutil.copy(finished.model, first)
    changes = {"data.source": str(images), "generated": 0.5, "weights": str(first)}
    recipe = override(TINY, changes)
    learn = learning.Learning.learn
    monkeypatch.setattr(learning.Learning, "learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, tmp_path / "run")
    monkeypatch.setattr(learning.Learning, "learn", learn)
    model = keras.models.load_model(first, compile=False)
    model.set_weights([2 * weight for weight in model.get_weights()])
    model.save(first)
    with pytest.raises(
        RunError, match=r"run was begun with other weights \(.*\): go on with those"
    ):
        pretrain(recipe, tmp_path / "run")
    shutil.copy(finished.model, first)
    shutil.copy(images / "0.png", images / "copy.png")  # twice the same is once
    (images / "2.png").unlink()
    with pytest.raises(RunError, match="run was begun with other images than there are now: put"):
        pretrain(recipe, tmp_path / "run")
    begun = tmp_path / "run" / "manifest.json"
    begun.write_text(begun.read_text().replace('"engine": "', '"engine": "other '))
    with pytest.raises(RunError, match=r"begun with other engine .other tensorflow -> tens"):
        pretrain(recipe, tmp_path / "run")
    begun.write_text("{}")
    with pytest.raises(RunError, match=r"manifest.json is damaged: .*; begin again"):
        pretrain(recipe, tmp_path / "run")


def interrupted(_: object) -> None:
    raise KeyboardInterrupt


def test_more_images_a_step_than_there_are_is_refused(folder: Path, tmp_path: Path) -> None:
    changed = override(TINY, {"data.source": str(folder), "generated": 0.0, "batch_size": 32})
    with pytest.raises(DataError, match="20 different images, and a step takes 32: lower data"):
        pretrain(changed, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_that_are_all_alike_are_refused(tmp_path: Path) -> None:
    for number in range(12):  # other bytes, the same picture
        image = np.full((32, 32, 3), 100, np.uint8)
        image[0, number] = 101
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    changed = override(TINY, {"data.source": str(tmp_path), "generated": 0.0})
    with pytest.raises(DataError, match="are all alike: there is nothing to tell apart"):
        pretrain(changed, tmp_path / "run")


def test_copies_of_one_image_are_one_image(folder: Path, tmp_path: Path) -> None:
    for number in range(12):
        shutil.copy(folder / "0.png", tmp_path / f"{number}.png")
    changed = override(TINY, {"data.source": str(tmp_path), "generated": 0.0})
    with pytest.raises(DataError, match="has 1 different images"):
        pretrain(changed, tmp_path / "run")


def test_weights_of_another_network_are_refused(finished: Pretrained, tmp_path: Path) -> None:
    changed = override(TINY, {"backbone": "mobilenet_v2_035", "weights": str(finished.directory)})
    with pytest.raises(WeightsError, match="do not fit mobilenet_v2_035"):
        pretrain(changed, tmp_path / "run")


@pytest.mark.parametrize(
    ("steps", "said"),
    [(6, "have stayed collapsed for 2 measurements"), (2, "end collapsed")],
)
def test_features_that_collapse_are_said_and_not_kept(
    steps: int,
    said: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All images look the same to a network whose kernels are 0."""
    monkeypatch.setattr(learning, "PATIENCE", 2)
    blind = {"weights": str(multiplied(0.0, tmp_path)), "learning_rate": 1e-9}
    changed = override(TINY, {**blind, "steps": steps, "checkpoint_steps": 2})
    with pytest.raises(CollapseError, match=f"the features {said}, so that no model") as raised:
        pretrain(changed, tmp_path / "run")
    assert raised.value.exit_code == 1
    assert "the features have collapsed" in caplog.text
    assert not (tmp_path / "run" / "model.keras").exists()


def multiplied(factor: float, folder: Path) -> Path:
    """Saves a network whose kernels are so many times what they were."""
    base = build_backbone(COMPACT, 32, "none")[0]
    for layer in base.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(factor * layer.kernel)
    base.save(folder / "first.keras")
    return folder / "first.keras"


def test_a_loss_that_is_no_number_ends_it_and_is_not_kept(tmp_path: Path) -> None:
    changed = override(TINY, {"weights": str(multiplied(math.nan, tmp_path))})
    with pytest.raises(RunError, match="the loss became nan between step 0 and 2: begin again in"):
        pretrain(changed, tmp_path / "run")
    assert not (tmp_path / "run" / "model.keras").exists()
    assert not list((tmp_path / "run" / "checkpoints").glob("*.npz"))


def test_small_batches_are_measured_on_as_many_views_as_large_ones(tmp_path: Path) -> None:
    done = pretrain(override(TINY, {"batch_size": 2, "steps": 2}), tmp_path / "run")
    (row,) = rows_of(done)
    assert float(row["effective_rank"]) > 10  # of two views alone it is 1
