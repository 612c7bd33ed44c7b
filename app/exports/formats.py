"""Formats beside the SavedModel: what writes them, and what asks them."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.backbones.copying import copy_weights
from app.errors import ExportError
from app.exports.request import FORMATS
from app.working import talk_held_back

Pixels = NDArray[np.uint8]
Shares = NDArray[np.float32]
# Pixels `[n, size, size, 3]` in, probabilities `[n, classes]` out.
Ask = Callable[[Pixels], Shares]
READING = Path(__file__).with_name("reading_outside.py")
CALIBRATION_IMAGES = 100


@dataclass(frozen=True)
class Format:
    """A file that answers pixels of the right size with probabilities.

    Attributes:
        name: As tables have it.
        file: Where it lies in the export.
        tolerance: Largest difference of a probability from Keras's; None of a format that
            is coarser on purpose, and is judged by its accuracy.
        calibrated: Whether it is made with training images.
        write: Makes it of a bare SavedModel, at a path.
        ask: Loads it.
    """

    name: str
    file: str
    tolerance: float | None
    write: Callable[[Path, Path], None]
    ask: Callable[[Path], Ask]
    calibrated: bool = False


def formats_of(names: tuple[str, ...]) -> list[Format]:
    """Finds the formats that are written beside the SavedModel.

    Args:
        names: Of `request.FORMATS`.

    Raises:
        ExportError: If one needs a package that is not installed.
    """
    missing = [each for each in _ONNX_PACKAGES if importlib.util.find_spec(each) is None]
    if "onnx" in names and missing:
        raise ExportError(
            f"--formats onnx needs {' and '.join(missing)}: pip install 'graft-vision[onnx]'"
        )
    return [each for name in FORMATS if name in names for each in _FORMATS[name]]


def write_bare(
    model: keras.Model,
    shares: Callable[[tf.Tensor], tf.Tensor],
    calibration: Pixels,
    folder: Path,
) -> None:
    """Writes what converters take: a SavedModel of one signature, and images to calibrate on.

    Args:
        model: Pixels in, logits out.
        shares: Makes probabilities of logits.
        calibration: Training images, uint8 `[n, size, size, 3]`; may be none.
        folder: To fill.
    """
    shape = [None, *model.input.shape[1:]]
    model = in_float32(model)
    for kind in (tf.uint8, tf.float32):

        def answer(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"probabilities": shares(model(pixels, training=False))}

        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serving_default", answer, [tf.TensorSpec(shape, kind, "pixels")])
        archive.write_out(folder / kind.name, verbose=False)
    np.save(folder / "calibration.npy", calibration)


def in_float32(model: keras.Model) -> keras.Model:
    """Returns a model whose layers compute in float32, with the same weights.

    LiteRT knows no convolutions in half precision.
    """
    if all(layer.dtype_policy.compute_dtype == "float32" for layer in _layers_of(model)):
        return model

    def whole(layer: keras.Layer) -> keras.Layer:
        return layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=whole, recursive=True)
    copy_weights(model, copy)
    return copy


def _layers_of(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model._flatten_layers() if not isinstance(layer, keras.Model)]


def write_reading(folder: Path) -> None:
    """Puts the function that reads files for these formats beside them."""
    shutil.copyfile(READING, folder / "reading.py")


def _litert(kind: str) -> Callable[[Path, Path], None]:
    def write(bare: Path, file: Path) -> None:
        # TensorFlow's converter keeps the memory of each conversion.
        _run("litert", "app.exports.converting", kind, str(bare), str(file))

    return write


def _onnx(bare: Path, file: Path) -> None:
    place = "--saved-model", str(bare / "uint8"), "--output", str(file)
    _run("onnx", "tf2onnx.convert", *place, "--opset", "17")


def _run(name: str, module: str, *arguments: str) -> None:
    """Runs a module in a process of its own; -P: nothing of the user's folder is imported."""
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-P", "-m", module, *arguments]
        done = subprocess.run(command, stdout=said, stderr=said, check=False)
        if done.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            reason = next((line for line in lines if "rror" in line), lines[-1]).strip()[:300]
            raise ExportError(
                f"it cannot be converted to {name}: leave that out of --formats ({reason})"
            )


def _ask_litert(file: Path) -> Ask:
    with warnings.catch_warnings(), talk_held_back():  # of later versions, and of delegates
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(str(file))
        interpreter.allocate_tensors()
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()

    def ask(pixels: Pixels) -> Shares:
        rows = []
        for row in pixels:  # one at a time, as it is used
            interpreter.set_tensor(takes["index"], row[None].astype(takes["dtype"]))
            interpreter.invoke()
            rows.append(interpreter.get_tensor(gives["index"])[0])
        return np.array(rows, np.float32)

    return ask


def _ask_onnx(file: Path) -> Ask:
    import onnxruntime  # an extra

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])

    def ask(pixels: Pixels) -> Shares:
        found: Any = session.run(["probabilities"], {"pixels": pixels})[0]
        return np.asarray(found, np.float32)

    return ask


_ONNX_PACKAGES = ("onnx", "tf2onnx", "onnxruntime")
EXACT = 1e-4
_FORMATS = {
    "savedmodel": [],
    "litert": [
        Format("litert", "litert/float32.tflite", EXACT, _litert("float32"), _ask_litert),
        Format("litert float16", "litert/float16.tflite", None, _litert("float16"), _ask_litert),
        Format("litert int8", "litert/int8.tflite", None, _litert("int8"), _ask_litert, True),
    ],
    "onnx": [Format("onnx", "onnx/model.onnx", EXACT, _onnx, _ask_onnx)],
}
