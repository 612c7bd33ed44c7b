"""Asking an export about files, good and bad."""

from __future__ import annotations

import csv
import importlib.util
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from app import Run
from app.errors import ExportError
from app.exports.loaded import BATCH, at_once
from app.exports.many import Predictor
from app.exports.places import find_files
from app.exports.prediction import Export, finish_predictions, write_predictions
from app.exports.rows import Tally, partial_of

# Asks `graft predict` about one folder after the other, and says its peak memory after each.
MEASURED = """
import functools, sys
from app import verbs
from app.cli import graft

prediction = verbs.load("app.exports.prediction", without_keras=True)
prediction.Export = functools.cache(prediction.Export)  # loading it again takes memory anew

def peak():
    (line,) = [each for each in open("/proc/self/status") if each.startswith("VmHWM")]
    return line.split()[1]  # kB; what `resource` knows counts the parent too

peaks = []
export, *folders = sys.argv[1:]
for files in folders:
    sys.argv = ["graft", "predict", export, files, "--output", files + ".csv"]
    try:
        graft()
    except SystemExit as left:
        assert left.code == 0, left
    peaks.append(peak())
assert sys.modules["keras"] is None
others = ("keras.src", "keras_tuner", "albumentations", "tensorflow_datasets", "sklearn", "cv2")
for name in (*others, "app.training", "app.models", "app.runs", "app.data"):
    assert name not in sys.modules, name
print(*peaks)
"""


@pytest.fixture
def folder(exported: Path) -> Path:
    return exported.parent


@pytest.fixture(scope="module")
def loaded(exported: Path) -> Export:
    return Export(exported.parent)


def test_the_highest_version_of_a_folder_answers(folder: Path, loaded: Export) -> None:
    assert loaded.folder == folder / "1"
    assert loaded.class_names == ("2", "10", "fern leaf")


@pytest.fixture
def many(finished: Run, tmp_path: Path) -> Callable[[str, int], Path]:
    """Fills a folder with links to the test images."""
    images = finished.test_images()

    def fill(name: str, count: int) -> Path:
        (tmp_path / name).mkdir()
        for number in range(count):
            os.link(images[number % len(images)], tmp_path / name / f"{number:06}.jpg")
        return tmp_path / name

    return fill


def test_the_folded_graph_answers_as_the_signature_does(
    finished: Run, folder: Path, loaded: Export
) -> None:
    paths = finished.test_images()
    serving = tf.saved_model.load(str(folder / "1")).signatures["serving_default"]
    wanted = serving(image_bytes=tf.constant([path.read_bytes() for path in paths]))
    answers = list(loaded.predict(paths))
    assert [each.label.encode() for each in answers] == wanted["label"].numpy().tolist()
    shares = np.array([each.probabilities for each in answers])
    np.testing.assert_allclose(shares, wanted["probabilities"], rtol=0, atol=1e-5)


def test_answers_do_not_depend_on_the_batch_they_come_in(finished: Run, loaded: Export) -> None:
    paths = (finished.test_images() * BATCH)[: BATCH + 3]
    together = list(loaded.predict(paths))
    assert [answer.path for answer in together] == paths
    for path, answer in zip(paths[:4], together, strict=False):
        (alone,) = loaded.predict([path])
        assert alone.label == answer.label
        np.testing.assert_allclose(alone.probabilities, answer.probabilities, atol=1e-6)


def test_a_bad_file_has_an_error_and_spoils_no_other(
    finished: Run, loaded: Export, tmp_path: Path
) -> None:
    good = finished.test_images()[0]
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good.read_bytes()[:200])
    (tmp_path / "letter.jpg").write_text("Dear Sir or Madam")
    (tmp_path / "empty.png").touch()
    bad = [cut, tmp_path / "letter.jpg", tmp_path / "empty.png", tmp_path / "gone.jpg", tmp_path]
    answers = list(loaded.predict([good, *bad, good]))
    assert [bool(answer.error) for answer in answers] == [False, *[True] * 5, False]
    assert answers[0].label == answers[-1].label != ""
    assert answers[4].error == "No such file or directory"


def test_a_bad_file_has_no_other_read_twice(
    finished: Run, loaded: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "letter.jpg").write_text("Dear Sir or Madam")
    paths = [*finished.test_images()[:3], tmp_path / "letter.jpg"] * 2
    asked: list[Path] = []
    read = loaded._read_file
    monkeypatch.setattr(loaded, "_read_file", lambda path: asked.append(path) or read(path))
    assert sum(bool(answer.error) for answer in loaded.predict(paths)) == 2
    assert sorted(asked) == sorted(paths)


def test_files_are_listed_no_further_ahead_than_they_are_answered(
    finished: Run, loaded: Export
) -> None:
    taken = 0

    def listed() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield finished.test_images()[0]

    answers = loaded.predict(listed())
    for _ in range(5 * BATCH):
        next(answers)
    assert taken <= 5 * BATCH + (at_once() + 1) * BATCH


def test_predictions_are_csv_with_a_column_for_errors_and_each_class(
    finished: Run, loaded: Export, tmp_path: Path
) -> None:
    good, text = finished.test_images()[0], io.StringIO()
    assert write_predictions(loaded, [good, tmp_path / "gone.jpg"], text) == Tally(2, 1)
    first, second = csv.DictReader(io.StringIO(text.getvalue()))
    shares = {name: float(first[f"probability_{name}"]) for name in loaded.class_names}
    assert max(shares, key=shares.__getitem__) == first["label"]
    assert float(first["probability"]) == max(shares.values())
    assert first["error"] == ""
    assert second["label"] == second["probability"] == second["probability_10"] == ""
    assert second["error"] == "No such file or directory"


def test_a_stopped_prediction_goes_on_to_the_same_bytes(
    many: Callable[[str, int], Path],
    folder: Path,
    loaded: Export,
    tmp_path: Path,
) -> None:
    images = many("images", 9 * BATCH + 5)
    (images / "000020.jpg").unlink()
    (images / "000020.jpg").write_text("Dear Sir or Madam")
    undisturbed, output = tmp_path / "undisturbed.csv", tmp_path / "x.csv"
    whole = Tally(9 * BATCH + 5, 1)
    files = [str(images)]
    version = folder / "1"

    def finish(paths: Iterator[Path], output: Path) -> Tally:
        return finish_predictions(loaded, paths, output, partial_of(output, version))

    def stopping(paths: Iterator[Path]) -> Iterator[Path]:
        yield from itertools.islice(paths, 7 * BATCH)
        raise KeyboardInterrupt

    assert finish(find_files(files), undisturbed) == whole
    with pytest.raises(KeyboardInterrupt):
        finish(stopping(find_files(files)), output)
    done = len(partial_of(output, version).read_text().splitlines()) - 1
    assert done >= 3 * BATCH
    assert not output.exists()
    assert finish(find_files(files), output) == whole
    assert output.read_bytes() == undisturbed.read_bytes()


def test_parquet_has_the_rows_of_the_table_and_is_gone_on_with_likewise(
    many: Callable[[str, int], Path], folder: Path, loaded: Export, tmp_path: Path
) -> None:
    images = many("parquet", 2 * BATCH + 3)
    (images / 'a "name",\n of two lines.jpg').write_text("no image")
    outputs = [tmp_path / "x.csv", tmp_path / "x.parquet"]

    def finish(paths: Iterator[Path], output: Path) -> Tally:
        return finish_predictions(loaded, paths, output, partial_of(output, folder / "1"))

    def stopping(paths: Iterator[Path]) -> Iterator[Path]:
        yield from itertools.islice(paths, BATCH)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(stopping(find_files([str(images)])), outputs[1])
    assert not outputs[1].exists()
    for output in outputs:
        assert finish(find_files([str(images)]), output) == Tally(2 * BATCH + 4, 1)
    assert sorted(path.name for path in tmp_path.glob("*x.*")) == ["x.csv", "x.parquet"]
    with outputs[0].open(newline="") as file:
        wanted = list(csv.DictReader(file))
    found = pq.read_table(outputs[1]).to_pylist()
    assert len(found) == len(wanted)
    for row, text in zip(found, wanted, strict=True):
        assert row.keys() == text.keys()
        for name, value in row.items():
            as_text = value if isinstance(value, str) else "" if value is None else f"{value:.6f}"
            assert as_text == text[name]


def test_a_killed_prediction_keeps_what_it_had_answered(
    many: Callable[[str, int], Path], folder: Path, loaded: Export, tmp_path: Path
) -> None:
    images, output = many("images", 6000), tmp_path / "x.csv"
    partial = partial_of(output, folder / "1")
    code = "from app.cli import graft\ngraft()"
    command = [sys.executable, "-c", code, "predict", folder, images, "--output", output]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
    while process.poll() is None and not (partial.is_file() and partial.stat().st_size > 2000):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = partial.read_bytes()
    for path in sorted(images.iterdir())[kept.count(b"\n") + 99 :]:
        path.unlink()  # what is left to do is enough
    finish_predictions(loaded, find_files([str(images)]), output, partial)
    assert output.read_bytes().startswith(kept[: kept.rindex(b"\n") // 2])
    rows = list(csv.DictReader(io.StringIO(output.read_text())))
    assert [row["file"] for row in rows] == list(map(str, sorted(images.iterdir())))
    assert not partial.exists()


def test_a_folder_without_a_saved_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="holds no SavedModel"):
        Export(tmp_path)


def test_a_damaged_saved_model_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    whole = (folder / "1" / "saved_model.pb").read_bytes()
    (tmp_path / "1" / "saved_model.pb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match="cannot be loaded"):
        Export(tmp_path)


def test_a_saved_model_of_somebody_else_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.f = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([None])])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.f)
    with pytest.raises(ExportError, match="none that graft exported"):
        Export(tmp_path)


def test_predicting_loads_neither_keras_nor_training_code_and_holds_no_list(
    folder: Path, many: Callable[[str, int], Path], python: Callable
) -> None:
    few, lots = many("few", 400), many("lots", 3000)
    done = python("-c", MEASURED, str(folder), str(few), str(lots))
    assert done.returncode == 0, done.stderr[-2000:]
    before, after = map(int, done.stdout.split())
    assert after - before < 4000  # the pixels of the 2,600 others would be 8,000 kB
    assert (lots.with_name("lots.csv")).read_text().count("\n") == 3001


def test_a_batch_of_a_data_engine_is_answered_as_files_are(finished: Run, folder: Path) -> None:
    paths = [*finished.test_images()[:3], Path("letter.jpg")]
    contents = [*(path.read_bytes() for path in paths[:3]), b"Dear Sir or Madam"]
    batch = {"bytes": np.array(contents, object), "path": np.array([*map(str, paths)], object)}
    found = Predictor(str(folder))({**batch, "taken": np.arange(4)})
    wanted = list(Export(folder).predict(paths[:3]))
    assert found.keys() == {"path", "taken", "label", "error", "probability", "probabilities"}
    assert found["label"].tolist() == [*(answer.label for answer in wanted), ""]
    assert found["error"].tolist()[:3] == ["", "", ""]
    assert found["error"][3].startswith("The bytes are no image")
    for row, answer in zip(found["probabilities"], wanted, strict=False):
        np.testing.assert_array_equal(row, answer.probabilities)
    assert np.isnan(found["probability"][3])
    assert found["probability"][0] == wanted[0].probabilities.max()


WITH_RAY = """
import json, sys
import ray
from app.exports.many import Predictor

ray.init(num_cpus=2, include_dashboard=False)
files = ray.data.read_binary_files(sys.argv[2:], include_paths=True)
answers = files.map_batches(
    Predictor, fn_constructor_args=[sys.argv[1]], batch_size=4, concurrency=1
)
print(json.dumps({row["path"]: row["label"] for row in answers.take_all()}))
"""


@pytest.mark.slow
def test_ray_data_answers_a_folder(finished: Run, folder: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("an extra: pip install 'graft-vision[ray]'")
    images = finished.test_images()
    command = [sys.executable, "-c", WITH_RAY, str(folder), *map(str, images)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {str(each.path): each.label for each in Export(folder).predict(images)}
