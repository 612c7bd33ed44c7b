"""Backpropagated gradients against differences of the loss, in double precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.backbones.backbone import Backbone
from app.backbones.blocks import around_backbone, blocks, boundary
from app.training.diagnosis import Finding
from app.training.parts import double_precision, in_float64, same_randomness
from app.training.signals import called

# Rounding, curvature and kinks left at most 5e-7 where gradients are right, on one network of
# each family of `graft backbones`; a gradient that is wrong by 1 % leaves 5e-3.
LARGEST_ERROR = 1e-5
GOOD_ENOUGH = 1e-7
# Lengths of the step. Differences of too short ones are rounding, and too long ones see
# curvature and jump over the kinks of rectifiers; which is best is different each time.
STEPS = (1e-5, 1e-6, 1e-4, 1e-7)
# Slopes below this share of the loss are left to the absolute error: a difference of losses
# is rounded to 1e-16 of them, which over a step of 1e-5 leaves 1e-11.
FLOOR = 1e-5
DIRECTIONS, COORDINATES = 2, 2

Loss = Callable[[Any, Any], Any]


def check_gradients(
    model: keras.Model,
    backbone: Backbone,
    loss: Loss,
    pixels: Any,
    labels: Any,
    seed: int = 0,
) -> Finding:
    """Compares backpropagation with central differences, on the head and the last block.

    The last block is the last one of the backbone that has a kernel; what lies above it is
    checked too. Each weight array, and what enters the block, is moved along its gradient,
    along random directions and along single random coordinates. Dropout is off, BatchNorm is
    in inference mode, and the layers are copies in float64: in float32 differences would say
    nothing. The relative error of two slopes a and b is |a - b| / (|a| + |b|).

    Whether the code of a gradient is right does not depend on where it is tried, so that is a
    random place near by: what enters the block is scaled to a size of 1 and shaken, biases,
    scales and offsets are shifted at random. Where the network itself is, thousands of
    rectifiers may be given an exact 0, or all of them values shorter than any step.

    Args:
        model: From `build_model`; it stays as it is.
        backbone: The one inside.
        loss: Of labels and logits; it has to compute in the type of the logits.
        pixels: A few images, `[images, size, size, 3]`.
        labels: As `loss` takes them.
        seed: Of the directions.

    Raises:
        ValueError: If the loss does not come in float64.
    """
    random = np.random.default_rng(seed)
    with same_randomness():
        parts, values = _parts(model, backbone, pixels)
        with double_precision():
            inputs = [keras.Variable(_shaken(value, random)) for value in values]
            slopes = _Slopes([_shifted(part, random) for part in parts], inputs, loss, labels)
            errors = _errors(slopes, random)
    worst = max(errors.values())
    return Finding(
        name="gradients against central differences",
        passed=worst < LARGEST_ERROR,  # not if it is no number
        number=worst,
        said=f"largest relative error of {len(errors)} layers, below {LARGEST_ERROR:g}",
        details=tuple(f"{layer}: {error:.1e}" for layer, error in errors.items()),
    )


@dataclass(frozen=True)
class _Slopes:
    """The loss as a function of weights and inputs.

    Attributes:
        parts: The last block with what follows, and the head, in float64.
        inputs: Of the block, a tensor each.
        loss: Of labels and logits.
        labels: As it takes them.
    """

    parts: Sequence[keras.Model]
    inputs: Sequence[keras.Variable]
    loss: Loss
    labels: Any

    @property
    def moved(self) -> dict[str, list[Any]]:
        """What is moved, by layer: its weight arrays, or the inputs of the block."""
        layers = {
            layer.name: layer.trainable_variables for part in self.parts for layer in part.layers
        }
        named = {"(input of the block)": list(self.inputs)} | layers
        return {name: variables for name, variables in named.items() if variables}

    @cached_property
    def at(self) -> Callable[[], tf.Tensor]:
        """The mean loss, a scalar of float64; compiled, for it is asked for hundreds of times."""
        block, head = self.parts

        def mean_loss() -> tf.Tensor:
            values = [tf.convert_to_tensor(each) for each in self.inputs]
            features = block(keras.tree.pack_sequence_as(block.input, values), training=False)
            result = keras.ops.mean(self.loss(self.labels, head(features, training=False)))
            if result.dtype != tf.float64:
                name = result.dtype.name
                raise ValueError(f"the loss is {name}: gradients are checked in float64")
            return result

        compiled: Callable[[], tf.Tensor] = tf.function(mean_loss)
        return compiled

    def backpropagated(self) -> Mapping[str, list[NDArray[np.float64]]]:
        """Returns the gradients, as `moved` has the variables."""
        flat = [variable for variables in self.moved.values() for variable in variables]
        values = [variable.value for variable in flat]
        with tf.GradientTape() as tape:
            total = self.at()
        zero = tf.UnconnectedGradients.ZERO
        found = iter(tape.gradient(total, values, unconnected_gradients=zero))
        return {
            name: [next(found).numpy() for _ in variables] for name, variables in self.moved.items()
        }

    def measured(self, variable: Any, direction: NDArray[np.float64], step: float) -> float:
        """Returns the slope of the loss along a direction, from both sides of where it is."""
        start = np.array(variable)
        try:
            variable.assign(start + step * direction)
            above = float(self.at())
            variable.assign(start - step * direction)
            return (above - float(self.at())) / (2 * step)
        finally:
            variable.assign(start)


def _parts(
    model: keras.Model, backbone: Backbone, pixels: Any
) -> tuple[list[keras.Model], list[NDArray[np.float64]]]:
    """Cuts out the last block and the head, and computes what enters them."""
    entering, base, features = around_backbone(model)
    edge = boundary(base, _last_layers(model, backbone))
    scaled = called(keras.Model(model.input, entering), pixels, training=False)
    values = keras.tree.flatten(called(keras.Model(base.input, edge), scaled, training=False))
    return (
        [keras.Model(edge, base.output), keras.Model(features, model.output)],
        [np.array(value, "float64") for value in values],
    )


def _shaken(values: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Scales values to a root mean square of 1, and adds noise of a tenth of that."""
    size = np.sqrt(np.mean(values**2)) or 1.0
    return values / size + random.normal(0, 0.1, values.shape)


def _shifted(part: keras.Model, random: np.random.Generator) -> keras.Model:
    """Copies layers in float64, with biases, scales and offsets shifted at random."""
    copy = in_float64(part)
    for weight in copy.trainable_variables:
        if len(weight.shape) == 1:
            weight.assign_add(random.normal(size=weight.shape))
    return copy


def _last_layers(model: keras.Model, backbone: Backbone) -> list[keras.Layer]:
    parts = blocks(model, backbone)
    with_kernel = [
        name
        for name, layers in parts.items()
        if any(len(weight.shape) > 1 for layer in layers for weight in layer.weights)
    ]
    first = list(parts).index(with_kernel[-1])
    return [layer for layers in list(parts.values())[first:] for layer in layers]


def _errors(slopes: _Slopes, random: np.random.Generator) -> dict[str, float]:
    """Returns the largest relative error of each layer."""
    gradients = slopes.backpropagated()
    floor = FLOOR * max(abs(float(slopes.at())), 1.0)
    return {
        name: max(
            _error(slopes, variable, gradient, direction, floor)
            for variable, gradient in zip(variables, gradients[name], strict=True)
            for direction in _directions(gradient, random)
        )
        for name, variables in slopes.moved.items()
    }


def _error(
    slopes: _Slopes,
    variable: Any,
    gradient: NDArray[np.float64],
    direction: NDArray[np.float64],
    floor: float,
) -> float:
    """Returns the relative error along one direction, with the step that suits it best."""
    expected = float((gradient * direction).sum())
    best = np.inf
    for step in STEPS:
        found = slopes.measured(variable, direction, step)
        best = min(best, abs(expected - found) / max(abs(expected) + abs(found), floor))
        if best < GOOD_ENOUGH:
            break
    return best


def _directions(
    gradient: NDArray[np.float64], random: np.random.Generator
) -> list[NDArray[np.float64]]:
    """Returns directions of length 1: the gradient's, random ones and coordinates."""
    drawn = [random.normal(size=gradient.shape) for _ in range(DIRECTIONS)]
    for place in random.integers(gradient.size, size=COORDINATES):
        drawn.append(np.zeros(gradient.shape))
        drawn[-1].flat[place] = 1.0
    along = [gradient] if np.any(gradient) else []
    return [direction / np.linalg.norm(direction) for direction in along + drawn]
