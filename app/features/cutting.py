"""The frozen boundary: what of a classifier never changes, and what is trained above it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import prod
from typing import Any

import keras
import numpy as np

from app.backbones.blocks import around_backbone, crossing


@dataclass(frozen=True)
class Cut:
    """A classifier in two parts, which share their weights with it.

    Attributes:
        below: Pixels of 0 to 255 `[n, size, size, 3]` in, a list of tensors out. Nothing in
            it trains or draws, so the same pixels give the same tensors each time.
        above: Such a list in, logits out. Whatever trains is in it.
        name: The layers whose outputs cross the boundary, with `+` between them.
        shapes: Of the tensors that cross it, without the batch.
        head_alone: Whether all of the backbone lies below.
    """

    below: keras.Model
    above: keras.Model
    name: str
    shapes: tuple[tuple[int, ...], ...]
    head_alone: bool

    @property
    def width(self) -> int:
        """How many numbers cross the boundary for each image."""
        return sum(self.widths)

    @property
    def widths(self) -> tuple[int, ...]:
        """How many of them are of each tensor."""
        return tuple(prod(shape) for shape in self.shapes)


def cut(model: keras.Model) -> Cut | None:
    """Divides a classifier at the boundary between what is frozen and what is trained.

    Above it lies all that trains or draws, and all that depends on such a layer. A pooling of
    frozen maps lies below: its vector crosses the boundary then, and not the map.

    Args:
        model: From `build_model`, set by `unfreeze`.

    Returns:
        None if nothing that ever could train lies below.
    """
    entering, base, features = around_backbone(model)
    inside = [] if _frozen(base) else _crossing(base)
    if not inside:
        outside = _below_head(model)
        below = keras.Model(model.input, outside)
        above = keras.Model(outside, model.output, name=model.name)
        return _cut(below, above, outside, head_alone=True)
    if not any(len(weight.shape) > 1 for weight in keras.Model(base.input, inside).weights):
        return None
    below = keras.Model(model.input, keras.Model(base.input, inside)(entering))
    inputs = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in inside]
    head = keras.Model(features, model.output)
    above = keras.Model(inputs, head(keras.Model(inside, base.output)(inputs)), name=model.name)
    return _cut(below, above, inside, head_alone=False)


def cut_below(model: keras.Model, layer: str) -> Cut:
    """Divides a classifier below a layer of its head, whatever trains."""
    read = model.get_layer(layer).input
    above = keras.Model(read, model.output, name=model.name)
    return _cut(keras.Model(model.input, read), above, [read], head_alone=True)


def fingerprint(below: keras.Model) -> str:
    """Hashes what is frozen, weights and kinds of layers, so that no other is taken for it."""
    digest = hashlib.sha256()
    for layer in below._flatten_layers():  # by name two poolings of the same maps look alike
        digest.update(f"{type(layer).__name__} ".encode())
    for weight in below.weights:
        values = np.ascontiguousarray(weight)
        digest.update(f"{weight.name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _cut(
    below: keras.Model, above: keras.Model, tensors: list[keras.KerasTensor], head_alone: bool
) -> Cut:
    names = [tensor._keras_history.operation.name for tensor in tensors]
    shapes = tuple(tuple(tensor.shape[1:]) for tensor in tensors)
    return Cut(below, above, "+".join(names), shapes, head_alone)


def _crossing(model: keras.Model) -> list[keras.KerasTensor]:
    """Lists the tensors that what trains reads from what is frozen."""
    return crossing(model, lambda operation, fed: fed or not _frozen(operation))


def _below_head(model: keras.Model) -> list[keras.KerasTensor]:
    """Lists the tensors that a head reads.

    Its normalisation learns from them, too; and its dropout begins it even at a rate of 0, so
    that trials with other rates find the same rows.
    """
    begins = (keras.layers.BatchNormalization, keras.layers.Dropout)
    return crossing(
        model, lambda layer, fed: fed or not _frozen(layer) or isinstance(layer, begins)
    )


def _frozen(operation: Any) -> bool:
    """Tells whether an operation gives the same for the same, now and after training."""
    if not isinstance(operation, keras.Layer):
        return True
    layers = operation._flatten_layers()
    return not operation.trainable_weights and not any(map(_draws, layers))


def _draws(layer: keras.Layer) -> bool:
    return getattr(layer, "seed_generator", None) is not None and bool(getattr(layer, "rate", 1))
