"""The SavedModel: its signatures, its versions, and that it means what the run measured."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from app import Run, export
from app.data.batches import measuring_batches
from app.data.index import Image as ImageFile
from app.data.index import Index
from app.data.reading import read_image
from app.errors import ExportError
from app.exports.meaning import Meaning
from app.exports.saved_model import write_saved_model
from tests.test_data_reading import EXACT, OTHERS, tagged

EXIF_KINDS = ("jpeg", "png", "webp")
ALONE = """
import json, sys
sys.modules["keras"] = None  # TensorFlow imports it when it is there
import tensorflow as tf

answer = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
rows = {}
for path in sys.argv[2:]:
    said = answer(image_bytes=tf.constant([open(path, "rb").read()]))
    rows[path] = [said["label"][0].numpy().decode(), said["probabilities"][0].numpy().tolist()]
assert not any(name.startswith("keras.") for name in sys.modules), "Keras was imported"
print(json.dumps(rows))
"""


def answers(run: Run) -> list[dict[str, str]]:
    with run.predictions.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_export_answers_every_test_image_as_evaluate_did_without_keras(
    finished: Run, exported: Path, python: Callable, tmp_path: Path
) -> None:
    (tmp_path / "alone.py").write_text(ALONE)
    tested = [row for row in answers(finished) if row["split"] == "test"]
    done = python("alone.py", str(exported), *(row["file"] for row in tested))
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    names = finished.manifest["class_names"]
    for row in tested:
        label, shares = said[row["file"]]
        assert label == row["label"]
        wanted = [float(row[f"probability_{name}"]) for name in names]
        np.testing.assert_allclose(shares, wanted, atol=1e-5)


def test_signatures_name_their_inputs_and_outputs(exported: Path) -> None:
    signatures = tf.saved_model.load(str(exported)).signatures
    inputs = {name: sorted(signatures[name].structured_input_signature[1]) for name in signatures}
    of_bytes = {name: ["image_bytes"] for name in ("serving_default", "features", "read")}
    explain = {"explain": ["class_index", "image_bytes"]}
    assert inputs == {**of_bytes, **explain, "pixels": ["pixels"], "classify": ["inputs"]}
    outputs = {name: set(signatures[name].structured_outputs) for name in signatures}
    answers = {"label", "probabilities", "classes", "top_k_classes", "top_k_probabilities"}
    assert outputs == {
        "serving_default": {*answers, "error"},
        "pixels": answers,
        "features": {"features", "error"},
        "classify": {"classes", "scores"},
        "explain": {"heat", "label", "error"},
        "read": {"pixels"},
    }


def test_the_export_reads_as_training_does(finished: Run, exported: Path) -> None:
    read = tf.saved_model.load(str(exported)).signatures["read"]
    contents = tf.constant(finished.test_images()[0].read_bytes())
    assert np.array_equal(read(image_bytes=contents)["pixels"], read_image(contents, 32))


def test_classes_come_in_the_order_of_probabilities(finished: Run, exported: Path) -> None:
    signature = tf.saved_model.load(str(exported)).signatures["serving_default"]
    contents = [path.read_bytes() for path in finished.test_images()[:3]]
    said = signature(image_bytes=tf.constant(contents))
    names = [name.decode() for name in said["classes"][0].numpy()]
    assert names == ["2", "10", "fern leaf"] == finished.manifest["class_names"]
    best = [names[column] for column in said["probabilities"].numpy().argmax(1)]
    assert best == [label.decode() for label in said["label"].numpy()]
    np.testing.assert_allclose(said["probabilities"].numpy().sum(1), 1, rtol=1e-5)


def test_pixels_of_any_size_are_resized_as_files_are(finished: Run, exported: Path) -> None:
    signatures = tf.saved_model.load(str(exported)).signatures
    contents = finished.test_images()[0].read_bytes()
    whole = tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE")
    by_pixels = signatures["pixels"](pixels=whole[None])["probabilities"]
    by_bytes = signatures["serving_default"](image_bytes=tf.constant([contents]))["probabilities"]
    np.testing.assert_allclose(by_pixels, by_bytes, atol=1e-6)
    small = read_image(tf.constant(contents), 32)[None]
    np.testing.assert_allclose(
        signatures["pixels"](pixels=small)["probabilities"], by_bytes, atol=1e-6
    )


def test_versions_count_up_and_none_is_overwritten(
    finished: Run, exported: Path, copied: Path, tmp_path: Path
) -> None:
    assert exported.parts[-2:] == ("tiny", "1")
    written = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    (tmp_path / "tiny" / "notes").mkdir()
    assert export(finished, tmp_path) == tmp_path / "tiny" / "2"
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == written


def test_the_export_says_which_run_it_came_from(finished: Run, exported: Path) -> None:
    card = json.loads((exported / "assets.extra" / "card.json").read_text())
    assert card["class_names"] == finished.manifest["class_names"]
    assert card["run"] == finished.directory.name
    assert card["metrics"]["test"]["accuracy"] == finished.metrics["test"]["accuracy"]


def test_a_folder_that_cannot_be_written_is_named(finished: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ExportError, match=r"taken/tiny/1 cannot be written .* --output"):
        export(finished, tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_an_interrupted_export_leaves_no_version(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.saved_model, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(finished, tmp_path)
    assert list((tmp_path / "tiny").iterdir()) == []


def test_an_export_sees_the_pixels_that_training_saw_in_every_format(tmp_path: Path) -> None:
    """Of a model whose logits are the pixels, any other pixel would change every answer."""
    files = {**EXACT, **OTHERS}
    upright = {f"{kind}-{n}": partial(tagged, kind, n) for kind in EXIF_KINDS for n in range(1, 9)}
    images = []
    for number, (name, make) in enumerate({**files, **upright}.items()):
        path = tmp_path / name
        path.write_bytes(make())
        images.append(ImageFile(path, ("a",), "test", f"{number:064x}", 1, 1))
    index = Index(("a", "b"), tuple(images), ())
    batches = measuring_batches(index, images, image_size=8, batch_size=16)
    trained = np.concatenate([pixels for pixels, _ in batches.as_numpy_iterator()])

    pixels = keras.Input((8, 8, 3))
    logits = keras.layers.Rescaling(1 / 64, name="logits")(keras.layers.Flatten()(pixels))
    names = [str(number) for number in range(8 * 8 * 3)]
    write_saved_model(keras.Model(pixels, logits), Meaning(names), tmp_path / "export")
    signatures = tf.saved_model.load(str(tmp_path / "export")).signatures
    contents = tf.constant([image.path.read_bytes() for image in images])
    by_bytes = signatures["serving_default"](image_bytes=contents)["probabilities"].numpy()
    by_pixels = signatures["pixels"](pixels=trained)["probabilities"].numpy()
    assert len(images) == len(files) + 8 * len(EXIF_KINDS)
    assert by_bytes.tobytes() == by_pixels.tobytes()
