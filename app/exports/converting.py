"""Converting to LiteRT, in a process of its own: `python -m app.exports.converting`."""

from __future__ import annotations

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
        kind: float32; float16, whose weights are halved; or int8, whose weights and activations
            are whole numbers, calibrated on images, from uint8 pixels.
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
            for one in calibration:
                yield [one[None].astype("float32")]

        converter.representative_dataset = images
        converter.inference_input_type = tf.uint8
    file.write_bytes(converter.convert())


if __name__ == "__main__":
    convert(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
