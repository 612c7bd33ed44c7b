"""Where a format first departs from Keras."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from app.backbones.blocks import around_backbone
from app.errors import ExportError
from app.exports.formats import Ask, Pixels

# Writes a model in some format, and loads what answers for it.
Through = Callable[[keras.Model, Path], Ask]


def first_departure(
    model: keras.Model, through: Through, pixels: Pixels, tolerance: float
) -> str | None:
    """Finds the first layer whose output a format computes otherwise than Keras.

    Layers are cut off behind one another, by bisection: a difference goes on upwards.

    Args:
        model: Pixels in, logits out.
        through: Of the format.
        pixels: Some images, uint8 `[n, size, size, 3]`.
        tolerance: Largest difference, as a share of the largest output of a layer.

    Returns:
        Its name, and how large the difference is; None if no layer departs.
    """
    layers = _layers(model)
    low, high, found = 0, len(layers), None
    while low < high:
        middle = (low + high) // 2
        name, output = layers[middle]
        apart = _apart(keras.Model(model.input, output), through, pixels)
        if apart > tolerance:
            high, found = middle, f"layer {name} (by {apart:.1g} of its largest output)"
        else:
            low = middle + 1
    return found


def _layers(model: keras.Model) -> list[tuple[str, Any]]:
    """Lists what can be cut off behind: layers of the backbone, then those of the head."""
    entering, base, _ = around_backbone(model)
    inside = [
        (layer.name, keras.Model(base.input, layer.output)(entering))
        for layer in base.layers
        if not isinstance(layer, keras.layers.InputLayer)
    ]
    names = [layer.name for layer in model.layers]
    above = model.layers[names.index(base.name) :]
    return inside + [(layer.name, layer.output) for layer in above]


def _apart(part: keras.Model, through: Through, pixels: Pixels) -> float:
    wanted = keras.ops.convert_to_numpy(part(pixels, training=False)).astype("float32")
    with tempfile.TemporaryDirectory() as temporary:
        try:
            found = through(part, Path(temporary))(pixels)
        except ExportError:
            return float("inf")
    return float(np.abs(wanted - found).max() / max(np.abs(wanted).max(), 1e-12))
