"""What activations, gradients and updates look like, without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.backbones.blocks import around_backbone

# Of the way from the middle of its range to an end, beyond which an activation hardly has a
# gradient: 0.06 of its largest at tanh's 0.97.
SATURATED = 0.97
_RANGES = {
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
}
_CLASSES = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU, keras.layers.ELU)


@dataclass(frozen=True)
class Activation:
    """What an activation layer gave.

    Attributes:
        values: `[images, ..., units]`, float32.
        low: Where it saturates from above; None if it has no lower end, or if that is the
            zero of a rectifier.
        middle: Halfway between its ends.
        high: Where it saturates from below; None if it has no upper end.
        rectifies: Whether it is exactly 0 below a threshold, without any gradient there.
    """

    values: NDArray[np.float32]
    low: float | None = None
    middle: float = 0.0
    high: float | None = None
    rectifies: bool = False


def activations(model: keras.Model, pixels: Any, training: bool = False) -> dict[str, Activation]:
    """Looks at all activations of backbone and head.

    Args:
        model: From `build_model`; nothing of it changes.
        pixels: `[images, size, size, 3]`, 0 to 255. All activations are held in memory: of
            MobileNetV2 at 160 pixels 9 MB an image.
        training: Whether BatchNorm that trains takes its statistics from these images, and
            dropout drops.

    Returns:
        By layer, from input to output: layers that only activate, and those that have an
        activation of their own.
    """
    entering, base, features = around_backbone(model)
    scaled = called(keras.Model(model.input, entering), pixels, training)
    given, inside = _looked_into(base.input, base.layers, base.output, scaled, training)
    above = model.layers[model.layers.index(base) + 1 :]
    return inside | _looked_into(features, above, model.output, given, training)[1]


def dead_units(activation: Activation) -> NDArray[np.bool_]:
    """Says which units of a rectifier are 0 in every image and at every position, `[units]`.

    No gradient passes through such a unit, so that nothing below it learns from it. Of
    activations that do not rectify no unit is dead.
    """
    values = activation.values
    dead: NDArray[np.bool_] = (values == 0).all(axis=tuple(range(values.ndim - 1)))
    return dead & activation.rectifies


def dead_share(activation: Activation) -> float:
    """Returns which share of the units is dead, 0 to 1; see `dead_units`."""
    return float(dead_units(activation).mean())


def saturated_share(activation: Activation) -> float:
    """Returns which share of the values is near an end of the activation's range, 0 to 1.

    Near is beyond 0.97 of the way from its middle: 0.97 and -0.97 of tanh, 0.985 and 0.015
    of a sigmoid, 5.91 of ReLU6. An activation without ends is never saturated.
    """
    values, middle = activation.values, activation.middle
    near = np.zeros(values.shape, bool)
    if activation.low is not None:
        near |= values < middle + SATURATED * (activation.low - middle)
    if activation.high is not None:
        near |= values > middle + SATURATED * (activation.high - middle)
    return float(near.mean())


def gradients(
    model: keras.Model,
    loss: Callable[[Any, Any], Any],
    pixels: Any,
    labels: Any,
    training: bool = False,
) -> dict[str, tf.Tensor]:
    """Backpropagates one batch; nothing of the model changes.

    Args:
        model: Pixels in, logits out.
        loss: Of labels and logits, an image or in all; its mean is taken. Penalties on
            weights are added.
        pixels: `[images, size, size, 3]`.
        labels: As `loss` takes them.
        training: Whether BatchNorm that trains takes its statistics from these images, and
            dropout drops.

    Returns:
        By the path of each trainable variable, in their order; zeros where the loss does
        not depend on it.
    """
    weights = model.trainable_variables
    values = [tf.convert_to_tensor(variable) for variable in weights]
    rest = [tf.convert_to_tensor(variable) for variable in model.non_trainable_variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        logits, _, penalties = model.stateless_call(
            values, rest, pixels, training=training, return_losses=True
        )
        total = keras.ops.mean(loss(labels, logits)) + keras.ops.sum(penalties or [0.0])
    found = tape.gradient(total, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return {variable.path: gradient for variable, gradient in zip(weights, found, strict=True)}


def gradient_norms(
    model: keras.Model,
    loss: Callable[[Any, Any], Any],
    pixels: Any,
    labels: Any,
    training: bool = False,
) -> dict[str, float]:
    """Returns the L2 norm of each trainable variable's gradient; see `gradients`."""
    found = gradients(model, loss, pixels, labels, training)
    return {path: float(tf.norm(tf.cast(each, tf.float32))) for path, each in found.items()}


def update_ratios(
    before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]]
) -> dict[str, float]:
    """Returns by how much variables changed, relative to their size: norm over norm.

    Args:
        before: Values by name.
        after: Later ones of the same names.

    Returns:
        By name; variables that were 0 all over, such as fresh biases, are left out.
    """
    sizes = {name: float(np.linalg.norm(values)) for name, values in before.items()}
    return {
        name: float(np.linalg.norm(after[name] - before[name])) / size
        for name, size in sizes.items()
        if size
    }


def called(part: keras.Model, inputs: Any, training: bool) -> Any:
    """Calls a model in either mode without a change to its state.

    BatchNorm moves its statistics in training mode, and dropout its seed.
    """
    trained, rest = part.trainable_variables, part.non_trainable_variables
    return part.stateless_call(trained, rest, inputs, training=training)[0]


def _looked_into(
    start: keras.KerasTensor,
    layers: Sequence[keras.Layer],
    end: keras.KerasTensor,
    inputs: Any,
    training: bool,
) -> tuple[Any, dict[str, Activation]]:
    layers = [layer for layer in layers if _function(layer)]
    looking = keras.Model(start, [end, *(layer.output for layer in layers)])
    result, *values = keras.tree.flatten(called(looking, inputs, training))
    return result, {
        layer.name: _activation(layer, np.asarray(value, "float32"))
        for layer, value in zip(layers, values, strict=True)
    }


def _function(layer: keras.Layer) -> str:
    """Names the activation function of a layer; nothing if it has none."""
    if isinstance(layer, _CLASSES):
        return "relu" if isinstance(layer, keras.layers.ReLU) else "other"
    name = getattr(getattr(layer, "activation", None), "__name__", "")
    return "" if name == "linear" else name


def _activation(layer: keras.Layer, values: NDArray[np.float32]) -> Activation:
    name = _function(layer)
    if name in _RANGES:
        low, high = _RANGES[name]
        return Activation(values, low, (low + high) / 2, high)
    if name not in ("relu", "relu6"):
        return Activation(values)
    most: float | None = 6.0 if name == "relu6" else getattr(layer, "max_value", None)
    rectifies = not getattr(layer, "negative_slope", 0.0)
    return Activation(values, None, (most or 0.0) / 2, most, rectifies)
