"""Converting to LiteRT, in a process of its own: `python -m app.exports.converting`."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf


def convert(kind: str, bare: Path, file: Path) -> None:
    """Writes a LiteRT model.

    Args:
        kind: float32; float16, whose weights are halved; or int8, whose weights are whole numbers,
            and activations, too, where LiteRT can, calibrated on images, from uint8 pixels.
        bare: A folder that `app.exports.formats.write_bare` filled.
        file: To write.
    """
    source = bare / ("float32" if kind == "int8" else "uint8")
    converter: Any = tf.lite.TFLiteConverter.from_saved_model(str(source))
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        calibration = np.load(bare / "calibration.npy")

        def images() -> Iterator[list[np.ndarray[Any, Any]]]:
            # All levels, so that a level is a level: dark photographs alone would stretch them.
            yield [_all_levels(calibration[0].shape)]
            for one in calibration:
                yield [one[None].astype("float32")]

        converter.representative_dataset = images
        converter.inference_input_type = tf.uint8
    converted = converter.convert()
    if kind == "int8":
        (takes,) = tf.lite.Interpreter(model_content=converted).get_input_details()
        if takes["quantization"] != (1.0, 0):
            raise RuntimeError(f"error: pixels would be stretched by {takes['quantization']}")
    file.write_bytes(converted)


def _all_levels(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.linspace(0, 255, math.prod(shape), dtype="float32").reshape(1, *shape)


if __name__ == "__main__":
    convert(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
