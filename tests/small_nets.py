"""A backbone of three layers for tests: what it gives can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from app.backbones.backbone import Backbone
from app.backbones.table import find_backbone
from app.models import build_model
from app.recipe import Head

# Its blocks are told by the names of layers, and its pixels are scaled to -1..1.
BACKBONE: Backbone = find_backbone("compact")


def small_net(
    head: Head | None = None,
    classes: int = 3,
    activation: Callable[[str], Any] | None = None,
    **options: Any,
) -> keras.Model:
    """Builds a classifier of 16 x 16 pixels with the blocks stem and stage1_block1."""
    keras.utils.set_random_seed(0)
    make = activation or (lambda name: keras.layers.ReLU(name=name))
    pixels = keras.Input((16, 16, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, strides=2, name="stem_conv")(pixels)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    x = make("stem_relu")(x)
    x = keras.layers.Conv2D(6, 3, activation="relu", name="stage1_block1_conv")(x)
    x = keras.layers.GlobalAveragePooling2D(name="features_pooled")(x)
    base = keras.Model(pixels, x, name="backbone")
    return build_model(BACKBONE, base, head or Head(dropout=0.5), classes, seed=0, **options)


def pictures(count: int, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws noise whose brightness tells the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    noise = random.normal(0, 40, (count, 16, 16, 3))
    levels = 60 + 130 * labels / max(classes - 1, 1)
    return (noise + levels[:, None, None, None]).clip(0, 255).astype("uint8"), labels


def state(model: keras.Model) -> dict[str, bytes]:
    """Returns all that a model holds: weights, statistics, seeds of dropout, optimizer."""
    held = {f"{number} {v.path}": v for number, v in enumerate(model.variables)}
    if model.compiled:
        held |= {f"{number} of {v.path}": v for number, v in enumerate(model.optimizer.variables)}
    return {name: np.asarray(variable).tobytes() for name, variable in held.items()}
