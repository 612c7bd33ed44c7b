"""Images with any number of labels, from a CSV file to the answers of an export."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from app import Augmentation, Data, Head, Recipe, Run, Stage, export, run
from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.commands import evaluate
from app.data.batches import measuring_batches
from app.data.index import Image as ImageFile
from app.data.index import Index, read_index
from app.data.splits import SPLITS
from app.export_command import predict
from app.exports.meaning import Meaning
from app.exports.saved_model import write_saved_model
from app.models import build_model, probabilities

COLOURS = {"red": (210, 60, 50), "green": (60, 180, 70), "blue": (60, 80, 210)}
# Of each image: its left and right half, and whether it is ruled.
PICTURES = [
    (left, right, ruled)
    for left in COLOURS
    for right in COLOURS
    for ruled in (False, False, True, True)
] + [(None, None, False)] * 4


def make_pictures(folder: Path) -> Path:
    """Writes 40 pictures of coloured halves, some ruled, and the CSV file that says so."""
    (folder / "pictures").mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = [["path", "labels"]]
    for number, (left, right, ruled) in enumerate(PICTURES):
        grey = (128, 128, 128)
        pixels = np.empty([36, 36, 3])
        pixels[:, :18], pixels[:, 18:] = COLOURS.get(left, grey), COLOURS.get(right, grey)
        if ruled:
            pixels[::3] = 250
        pixels += random.normal(0, 12, pixels.shape)
        Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(
            folder / "pictures" / f"{number}.png"
        )
        labels = {left, right, "ruled" if ruled else None} - {None}
        rows.append([f"pictures/{number}.png", ";".join(sorted(labels))])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = Recipe(
        name="pictures",
        data=Data(source=str(source), image_size=32, batch_size=7, test_fraction=0.2),
        augmentation=Augmentation("none"),
        backbone="compact",
        weights="none",
        head=Head(dropout=0.0),
        stages={"train": Stage(epochs=15, learning_rate=0.01)},
    )
    return run(recipe, tmp_path_factory.mktemp("runs") / "pictures")


@pytest.fixture(scope="module")
def exported(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(finished, tmp_path_factory.mktemp("saved_models"))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def names_of(joined: str) -> set[str]:
    return set(joined.split(";")) - {""}


NAMES = ["blue", "green", "red", "ruled"]


def test_the_labels_of_the_table_come_to_the_run_divided(finished: Run, source: Path) -> None:
    assert finished.manifest["many_labels"] is True
    assert finished.manifest["class_names"] == NAMES
    given = {str(source.parent / row["path"]): row["labels"] for row in table(source)}
    written = {row["path"]: row["class_name"] for row in table(finished.splits)}
    assert written == given
    index = read_index(finished.splits, NAMES, many_labels=True)
    assert [len(index.split(name)) for name in SPLITS] == [26, 6, 8]
    wanted = Counter(name for names in given.values() for name in names_of(names))
    counts = np.array([index.class_counts(name) for name in SPLITS])
    assert counts.all()
    assert counts.sum(axis=0).tolist() == [wanted[name] for name in NAMES]


def test_what_was_taken_for_granted_is_said(finished: Run) -> None:
    log = finished.log.read_text()
    assert "labels.csv: many labels: column 'labels'" in log
    assert "labels.csv: images without any label: 4" in log
    assert "40 images with any of 4 labels: train 26, validation 6, test 8" in log
    assert "test: all labels right 0." in log or "test: all labels right 1." in log


def test_each_label_is_learned_on_its_own(finished: Run) -> None:
    measured = finished.metrics["test"]
    # Each label is on about half of the images: guessing gets half of the answers wrong.
    assert measured["hamming_loss"] <= 0.25
    assert measured["mean_average_precision"] >= 0.85
    assert set(measured["classes"]) == set(NAMES)


def test_answers_written_down_are_those_that_were_measured(finished: Run) -> None:
    rows = [row for row in table(finished.predictions) if row["split"] == "test"]
    for row in rows:
        likely = {name for name in NAMES if float(row[f"probability_{name}"]) >= 0.5}
        assert names_of(row["label"]) == likely
        assert row["label"] == ";".join(name for name in NAMES if name in likely)
    measured = finished.metrics["test"]
    right = np.mean([row["label"] == row["class"] for row in rows])
    assert measured["accuracy"]["value"] == pytest.approx(right)
    wrong = [len(names_of(row["label"]) ^ names_of(row["class"])) for row in rows]
    assert measured["hamming_loss"] == pytest.approx(np.mean(wrong) / len(NAMES))


def test_a_run_of_many_labels_is_evaluated_again_and_its_labels_shown_as_a_table(
    finished: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = finished.metrics
    assert evaluate(finished.directory) == 0
    assert finished.metrics == before
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("test: all labels right ")
    assert "mean average precision" in lines[1]
    assert [line.split()[0] for line in lines[2:]] == ["label", *NAMES]


def test_the_export_says_that_there_are_many_labels(exported: Path) -> None:
    about = json.loads((exported / "assets.extra" / "card.json").read_text())
    assert about["many_labels"] is True
    assert about["class_names"] == NAMES


def test_predict_answers_as_evaluate_did(finished: Run, exported: Path, tmp_path: Path) -> None:
    images = [str(path) for path in finished.test_images()]
    output = tmp_path / "predictions.csv"
    assert predict(exported, images, output) == 0
    wanted = {row["file"]: row for row in table(finished.predictions)}
    rows = table(output)
    assert [row["file"] for row in rows] == images
    columns = [f"probability_{name}" for name in NAMES]
    assert list(rows[0]) == ["file", "label", "probability", "error", *columns]
    for row in rows:
        assert row["label"] == wanted[row["file"]]["label"]
        shares = [float(row[column]) for column in columns]
        measured = [float(wanted[row["file"]][column]) for column in columns]
        np.testing.assert_allclose(shares, measured, atol=1e-5)
        assert float(row["probability"]) == max(shares)


@pytest.mark.parametrize(("many", "logits"), [(True, 2), (False, 1)])
def test_two_labels_have_a_logit_each_and_two_classes_share_one(many: bool, logits: int) -> None:
    backbone = find_backbone("compact")
    base, _ = build_backbone(backbone, 32, "none")
    model = build_model(backbone, base, Head(), 2, seed=0, many_labels=many)
    assert model.output.shape == (None, logits)


def test_probabilities_of_many_labels_are_sigmoids_of_each_logit() -> None:
    logits = np.array([[0.0, 2.0], [-3.0, 5.0]], "float32")
    wanted = 1 / (1 + np.exp(-logits.astype("float64")))
    found = probabilities(tf.constant(logits), many_labels=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_labels_of_a_batch_are_a_column_each(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    labels = [("a", "c"), (), ("b",)]
    images = tuple(ImageFile(path, names, "test", "0" * 64, 8, 8) for names in labels)
    index = Index(("a", "b", "c"), images, (), many_labels=True)
    ((_, found),) = measuring_batches(index, images, 8, 4)
    assert found.dtype == tf.float32
    assert found.numpy().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_exported_labels_are_those_from_a_half_on(tmp_path: Path) -> None:
    """Of a model whose logits are the levels above 100, so that they are known."""
    pixels = keras.Input((1, 1, 3))
    flat = keras.layers.Flatten()(pixels)
    logits = keras.layers.Rescaling(1 / 16, offset=-100 / 16, name="logits")(flat)
    names = ["fern leaf", "猫", "c,d"]
    meaning = Meaning(names, many_labels=True)
    write_saved_model(keras.Model(pixels, logits), meaning, tmp_path / "export")
    signature = tf.saved_model.load(str(tmp_path / "export")).signatures["pixels"]
    levels = np.array([[0, 0, 0], [200, 99, 100], [99, 100, 0], [255, 255, 255]], "uint8")
    said = signature(pixels=levels[:, None, None, :])
    labels = [label.decode() for label in said["label"].numpy()]
    assert labels == ["", "fern leaf;c,d", "猫", "fern leaf;猫;c,d"]
    wanted = 1 / (1 + np.exp(-(levels.astype("float64") - 100) / 16))
    np.testing.assert_allclose(said["probabilities"], wanted, rtol=1e-4)
    assert said["classes"].numpy()[0].tolist() == [name.encode() for name in names]
