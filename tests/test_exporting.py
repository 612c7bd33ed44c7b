"""Exports that are proven: parity, other formats, calibration, refusals, cards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from app import Recipe, Run, export, exporting
from app.data.reading import read_image
from app.describing import answers_of
from app.errors import ExportError
from app.exports import departure, formats, parity
from app.exports.card import CARD, limits, plain, read_card
from app.exports.hashes import SUMS, differences, write_hashes
from app.exports.meaning import Meaning
from app.exports.parity import certify, table
from app.exports.reading_outside import read_image as read_outside
from app.exports.request import Request, to_words
from app.recipe_file import load_recipe_file
from app.runs import load_model
from tests.test_data_reading import EXACT, OTHERS, tagged

ALL = ("savedmodel", "litert", "onnx")


@pytest.fixture(scope="module")
def exported(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    request = Request(ALL, calibrate=True, unsure_below=0.7, top_k=2)
    with pytest.MonkeyPatch.context() as patch:
        # This run makes no mistake, so that it would be 1; how it is found is tested elsewhere.
        patch.setattr(exporting, "fit_temperature", lambda *_: 1.5)
        return export(finished, tmp_path_factory.mktemp("saved_models"), request)


@pytest.fixture(scope="module")
def card(exported: Path) -> dict:
    return read_card(exported)


def test_every_format_is_proven_on_the_validation_images(card: dict, finished: Run) -> None:
    names = ["savedmodel", "litert", "litert float16", "litert int8", "onnx"]
    assert [each["format"] for each in card["parity"]] == names
    count = card["data"]["images"]["validation"]
    for each in card["parity"]:
        assert each["images"] == count == finished.metrics["validation"]["count"]
        assert each["bytes"] > 1000
        assert each["milliseconds"] > 0
    exact = {each["format"]: each["largest_difference"] for each in card["parity"]}
    assert exact["savedmodel"] <= 1e-5
    assert max(exact["litert"], exact["onnx"]) <= 1e-4


def test_formats_answer_the_pixels_that_the_saved_model_reads(
    exported: Path, finished: Run
) -> None:
    signatures = tf.saved_model.load(str(exported)).signatures
    contents = [path.read_bytes() for path in finished.test_images()]
    wanted = signatures["serving_default"](image_bytes=tf.constant(contents))["probabilities"]
    pixels = np.stack([read_image(tf.constant(each), 32) for each in contents])
    for each in formats.formats_of(ALL):
        found = each.ask(exported / each.file)(pixels)
        atol = 1e-4 if each.tolerance else 0.1
        np.testing.assert_allclose(found, wanted, atol=atol, err_msg=each.name)


def test_the_temperature_divides_the_logits_and_is_in_every_answer(
    exported: Path, card: dict, finished: Run
) -> None:
    temperature = card["answers"]["temperature"]
    assert temperature == 1.5
    before, _ = answers_of(finished, "test", Meaning(card["class_names"]))
    signature = tf.saved_model.load(str(exported)).signatures["serving_default"]
    contents = tf.constant([path.read_bytes() for path in finished.test_images()])
    powers = before.astype("float64") ** (1 / temperature)
    wanted = powers / powers.sum(axis=1, keepdims=True)
    said = signature(image_bytes=contents)
    np.testing.assert_allclose(said["probabilities"], wanted, atol=1e-5)
    unsure = said["probabilities"].numpy().max(axis=1) < 0.7
    assert said["unsure"].numpy().tolist() == unsure.tolist()
    assert said["top_k_classes"].shape[1] == 2
    order = np.sort(said["probabilities"].numpy(), axis=1)[:, ::-1][:, :2]
    np.testing.assert_array_equal(said["top_k_probabilities"], order)
    best = said["top_k_classes"][:, 0].numpy().tolist()
    assert best == said["label"].numpy().tolist()


def test_a_bad_image_says_so_in_its_row_and_spoils_no_neighbour(
    exported: Path, finished: Run
) -> None:
    signatures = tf.saved_model.load(str(exported)).signatures
    good = finished.test_images()[0].read_bytes()
    alone = signatures["serving_default"](image_bytes=tf.constant([good]))
    said = signatures["serving_default"](image_bytes=tf.constant([good, b"text", good[:300]]))
    np.testing.assert_allclose(said["probabilities"][:1], alone["probabilities"], atol=1e-6)
    assert said["label"].numpy().tolist()[1:] == [b"", b""]
    assert not said["probabilities"].numpy()[1:].any()
    errors = [each.decode() for each in said["error"].numpy()]
    assert errors[0] == ""
    assert errors[1].startswith("The bytes are no image")
    assert errors[2] == "The file is damaged or cut short."
    features = signatures["features"](image_bytes=tf.constant([good, b"text"]))
    assert features["features"].numpy()[0].any()
    assert not features["features"].numpy()[1].any()


def test_examples_are_classified_as_tensorflow_serving_asks(exported: Path, finished: Run) -> None:
    signatures = tf.saved_model.load(str(exported)).signatures
    good = finished.test_images()[0].read_bytes()
    example = tf.train.Example()
    example.features.feature["image_bytes"].bytes_list.value.append(good)
    said = signatures["classify"](inputs=tf.constant([example.SerializeToString()]))
    wanted = signatures["serving_default"](image_bytes=tf.constant([good]))
    np.testing.assert_allclose(said["scores"], wanted["probabilities"], atol=1e-6)
    assert said["classes"].numpy().tolist() == wanted["classes"].numpy().tolist()


def test_files_are_read_outside_within_one_level(exported: Path) -> None:
    shipped = (exported / "onnx" / "reading.py").read_text()
    assert shipped == Path(formats.READING).read_text()
    turned = {
        f"{kind} {n}": tagged(kind, n) for kind in ("jpeg", "png", "webp") for n in range(1, 9)
    }
    for name, contents in {
        **{k: make() for k, make in {**EXACT, **OTHERS}.items()},
        **turned,
    }.items():
        ours = read_image(tf.constant(contents), 32).numpy().astype(int)
        theirs = read_outside(contents, 32).astype(int)
        assert np.abs(ours - theirs).max() <= (2 if "cmyk" in name.lower() else 1), name


def test_a_format_that_departs_is_refused_with_the_layer(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(ExportError, match=r"savedmodel: .* departs first in layer \w+"):
        export(finished, tmp_path)
    assert not list((tmp_path / "tiny").iterdir())


def test_the_first_layer_that_departs_is_found(finished: Run) -> None:
    model = load_model(finished)
    names = [name for name, _ in departure._layers(model)]
    broken = next(name for name in names if "conv" in name and names.index(name) > 5)

    def through(part: keras.Model, folder: Path) -> Callable:
        holds = broken in json.dumps(part.to_json())
        return lambda pixels: part(pixels).numpy() * (1.1 if holds else 1)

    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    found = departure.first_departure(model, through, pixels, 1e-4)
    assert found is not None
    assert found.startswith(f"layer {broken} ")


@pytest.mark.slow
def test_a_coarse_format_is_refused_with_a_layer_too(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "MOST_LOSS", -1.0)
    monkeypatch.setattr(exporting, "COARSE", 1e-9)
    with pytest.raises(
        ExportError, match=r"litert float16: it loses .* departs first in layer \w+"
    ):
        export(finished, tmp_path, Request(("litert",)))


@pytest.mark.slow
def test_formats_of_a_model_in_half_precision_answer_dark_photographs_as_it_does(
    tmp_path: Path,
) -> None:
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        pixels = keras.Input((16, 16, 3))
        x = keras.layers.Conv2D(8, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(pixels))
        x = keras.layers.DepthwiseConv2D(3)(keras.layers.BatchNormalization()(x))
        x = keras.layers.GlobalAveragePooling2D()(x)
        logits = keras.layers.Dense(3, dtype="float32", name="logits")(x)
        model = keras.Model(pixels, logits)
    finally:
        keras.config.set_dtype_policy("float32")
    dark = np.random.default_rng(0).integers(0, 100, (20, 16, 16, 3), dtype=np.uint8)
    meaning = Meaning(["a", "b", "c"])
    formats.write_bare(model, meaning.shares, dark, tmp_path)
    wanted = meaning.shares(model(dark, training=False)).numpy()
    for each in formats.formats_of(("litert", "onnx")):
        each.write(tmp_path, tmp_path / "part")
        found = each.ask(tmp_path / "part")(dark)
        np.testing.assert_allclose(found, wanted, atol=0.02 if each.calibrated else 2e-3)


def test_a_conversion_that_fails_says_which_format_to_leave_out(tmp_path: Path) -> None:
    (each,) = formats.formats_of(("onnx",))
    with pytest.raises(ExportError, match=r"cannot be converted to onnx: leave that out .*rror"):
        each.write(tmp_path, tmp_path / "part")  # there is no model


def test_calibration_images_come_from_the_first_class_to_the_last(
    finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "CALIBRATION_IMAGES", 3)
    subject = exporting._subject(finished, Request())
    chosen: list[str] = []
    monkeypatch.setattr(
        exporting._Subject,
        "pixels",
        lambda _, images: chosen.extend(each.class_name for each in images) or [np.zeros(1)],
    )
    exporting._calibration(subject, formats.formats_of(("litert",)))
    assert chosen == finished.manifest["class_names"]
    exporting._calibration(subject, formats.formats_of(("onnx",)))
    assert len(chosen) == 3


def test_an_answer_that_is_no_number_is_refused_in_every_format() -> None:
    reference = np.eye(2, dtype=np.float32)[np.zeros(10, int)]
    nothing = reference * np.float32("nan")
    for tolerance in (None, 1e-4):
        found = certify("x", tolerance, reference, nothing, np.zeros(10, int))
        assert found.complaint == "it answers what is no number"


def test_names_are_nothing_but_text_in_a_card() -> None:
    assert plain("a|b\n## <i>`c`\x1b[31m") == r"a\|b \#\# \<i\>\`c\` \[31m"
    assert plain("fern leaf (old), café 猫") == "fern leaf (old), café 猫"


@pytest.mark.parametrize("text", ['{"name": "x"}', "[]", "{", '{"name": "x", "metrics": 3}'])
def test_a_damaged_card_is_said_in_one_line_after_the_hashes(
    finished: Run, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    from app.export_command import inspect

    version = tmp_path / "1"
    (version / "assets.extra").mkdir(parents=True)
    (version / "saved_model.pb").touch()
    (version / CARD).write_text("{}")
    write_hashes(version)
    (version / CARD).write_text(text)
    (version / "deeper").mkdir()
    (version / "deeper" / SUMS).touch()
    (version / "link").symlink_to("deeper")
    with pytest.raises(ExportError, match=r"card\.json (is damaged|cannot be read)"):
        inspect(version)
    said = [record.message for record in caplog.records]
    assert said == [
        "deeper/SHA256SUMS is not of the export",
        "link is not of the export",
        "assets.extra/card.json has changed",
    ]


@pytest.mark.slow
def test_a_full_disk_within_tensorflow_is_one_line(finished: Run, tmp_path: Path) -> None:
    code = (
        "import resource, sys\nfrom app.cli import graft\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\ngraft()"
    )
    command = [sys.executable, "-c", code, "export", str(finished.directory), "--output", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "out/tiny/1 cannot be written" in done.stderr.splitlines()[-1]
    assert list((tmp_path / "out" / "tiny").iterdir()) == []


def test_a_coarse_format_is_refused_only_for_a_loss_that_is_no_chance() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    reference = np.eye(2, dtype=np.float32)[labels]
    for wrong, refused in ((0.0, False), (0.01, False), (0.1, True)):
        flipped = np.where(random.uniform(size=400) < wrong, 1 - labels, labels)
        found = certify("int8", None, reference, np.eye(2, dtype=np.float32)[flipped], labels)
        assert bool(found.complaint) == refused
    assert "points" in found.complaint
    assert len(table([found])) == 2
    nothing = certify("onnx", 1e-4, reference, reference * np.float32("nan"), labels)
    assert nothing.complaint  # what is no number is no small difference


def test_the_card_says_what_is_to_be_known(exported: Path, card: dict, finished: Run) -> None:
    text = (exported / "assets.extra" / "card.md").read_text()
    for name in finished.manifest["class_names"]:
        assert f"| {name} |" in text
    assert card["data"]["fingerprint"] == finished.manifest["data"]["fingerprint"]
    assert "no weights of others" in text
    assert f"Logits are divided by {card['answers']['temperature']:g}" in text
    assert all(sentence in text for sentence in card["limits"])
    assert "fewer than 30 test images" in text
    photos = finished.recipe.data.source
    assert photos not in text + (exported / CARD).read_text()  # an export is handed on
    assert card["signatures"]["serving_default"]["inputs"] == {
        "image_bytes": {"type": "string", "shape": [-1]}
    }


def test_the_recipe_in_an_export_is_that_of_the_run(exported: Path, finished: Run) -> None:
    from app import override

    found = load_recipe_file(exported / "assets.extra" / "recipe.json").recipe
    assert override(found, {"data.source": finished.recipe.data.source}) == finished.recipe


def test_hashes_tell_what_has_changed(copied: Path) -> None:
    assert differences(copied) == []
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=copied, capture_output=True, check=False)
    assert done.returncode == 0
    (copied / "assets.extra" / "card.md").write_text("better")
    (copied / "variables" / "variables.index").unlink()
    (copied / "more").write_text("")
    assert differences(copied) == [
        "variables/variables.index is missing",
        "more is not of the export",
        "assets.extra/card.md has changed",
    ]
    (copied / SUMS).unlink()
    with pytest.raises(ExportError, match="no hashes"):
        differences(copied)


def test_inspect_prints_the_card_and_answers_no_for_changed_files(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from app.export_command import inspect

    assert inspect(copied.parent) == 0
    said = capsys.readouterr().out
    assert said.startswith("# tiny, version 1\n")
    assert "- serving_default: image_bytes -> classes, error, label" in said
    assert said.endswith("all hashes match\n")
    (copied / "assets.extra" / "card.md").write_text("better")
    assert inspect(copied) == 1


def test_an_export_without_its_images_is_refused_or_says_that_nothing_is_proven(
    tiny: Recipe, tmp_path: Path
) -> None:
    from app import override, run
    from tests.conftest import make_photos

    folder = make_photos(tmp_path / "photos", count=12)
    moved = run(override(tiny, {"data.source": str(folder)}), tmp_path / "run")
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ExportError, match=r"gone or changed.* --uncertified"):
        export(moved, tmp_path / "out")
    version = export(moved, tmp_path / "out", Request(certified=False))
    assert any("Nothing proves" in each for each in limits(read_card(version)))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"formats": ("tflite",)}, "take of savedmodel, litert, onnx"),
        ({"unsure_below": 1.5}, "it is a probability"),
        ({"top_k": 0}, "list one class at least"),
        ({"calibrate": True, "certified": False}, "--calibrate and --uncertified"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(asked: dict, said: str) -> None:
    with pytest.raises(ExportError, match=said):
        Request(**asked)


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_ONNX_PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(ExportError, match=r"needs no_such_package: pip install 'graft-vision\[on"):
        formats.formats_of(("onnx",))


def test_a_request_is_written_as_it_is_typed() -> None:
    from app.cli import _parser

    request = Request(("litert", "onnx"), calibrate=True, unsure_below=0.25, top_k=3)
    asked = _parser().parse_args(["export", "run", *to_words(request)])
    found = Request(
        asked.formats, asked.calibrate, asked.unsure_below, asked.top_k, not asked.uncertified
    )
    assert found == request
