"""What is fitted in pretraining: a backbone, and the layers that its loss is computed on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from app.backbones.backbone import Backbone
from app.backbones.build import scale_pixels
from app.backbones.compact import without_places
from app.backbones.copying import copy_weights
from app.pretrain_recipe import Pretraining

_FIRST_MOMENTUM = 0.99  # of BYOL's slower copy; it rises to 1


@dataclass(frozen=True)
class Network:
    """A backbone that learns.

    Attributes:
        model: Is fitted: pixels of 0 to 255 in, `[n, width]` out.
        features: The same pixels in, the pooled features of the backbone out, `[n, features]`.
        callbacks: What has to happen beside the steps.
    """

    model: keras.Model
    features: keras.Model
    callbacks: list[keras.callbacks.Callback] = field(default_factory=list)


def build_network(
    recipe: Pretraining, backbone: Backbone, base: keras.Model, described: int = 0
) -> Network:
    """Puts the layers of a method on a backbone.

    Everything trains, BatchNorm included: all images of pretraining are new to it.

    Args:
        recipe: Says which method.
        backbone: What is known of the network.
        base: The built backbone; it becomes the layer `backbone`.
        described: How many numbers of descriptors are read off the features; 0 if none are.
    """
    keras.utils.set_random_seed(recipe.seed)
    base.trainable = True
    pixels = keras.Input(base.input.shape[1:], name="pixels")
    scaled = scale_pixels(pixels, backbone)
    encoder = keras.Model(pixels, _pooled(base(scaled)), name="features")
    contrasted = without_places(base) if backbone.constructor is None else base
    features = _pooled(contrasted(scaled))
    if recipe.method == "classification":
        logits = layers.Dense(recipe.classes, dtype="float32", name="logits")(features)
        return Network(keras.Model(pixels, logits, name="classifier"), encoder)
    projected = _projected(features, recipe.projection, "projection")
    # Read off the features themselves: so that a linear classifier can read them, too.
    read = [layers.Dense(described, name="descriptors")(features)] if described else []
    if recipe.method != "byol":
        return Network(keras.Model(pixels, _whole([projected, *read]), name="learner"), encoder)
    foretold = _projected(projected, recipe.projection[-2:], "prediction")
    online = keras.Model(pixels, projected)
    slow = keras.models.clone_model(online, clone_function=_following, recursive=True)
    copy_weights(online, slow)
    slow.trainable = False
    model = keras.Model(pixels, _whole([foretold, slow(pixels), *read]), name="learner")
    return Network(model, encoder, [FollowSlowly(online, slow, recipe.steps)])


class FollowSlowly(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Moves BYOL's slower copy a little after the network that learns, after each step.

    By a momentum that rises from 0.99 to 1 along a cosine (arXiv 2006.07733, section 3.3, where
    it begins at 0.996 for runs of many more steps).
    """

    def __init__(self, online: keras.Model, slow: keras.Model, steps: int) -> None:
        super().__init__()
        self.slow = slow
        self._pairs = list(zip(slow.weights, online.weights, strict=True))
        self._steps = steps

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Takes the step of the copy."""
        share = min(int(np.asarray(self.model.optimizer.iterations)) / self._steps, 1.0)
        momentum = 1 - (1 - _FIRST_MOMENTUM) * (math.cos(math.pi * share) + 1) / 2
        for slow, online in self._pairs:
            if keras.backend.is_float_dtype(slow.dtype):
                slow.assign(momentum * slow + (1 - momentum) * online)


@keras.saving.register_keras_serializable("graft")
class BatchStatistics(layers.BatchNormalization):  # type: ignore[misc]  # Keras has no types
    """BatchNorm that always normalises by the batch, and leaves its moving statistics alone.

    As BYOL's slower copy does (arXiv 2006.07733, of which both networks see whole batches). Frozen,
    Keras's own would take moving statistics, and by those of the first steps all images are alike.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalises `[n, ..., channels]`."""
        whole = keras.ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        mean, variance = keras.ops.moments(whole, list(range(len(inputs.shape) - 1)))
        found = keras.ops.batch_normalization(
            whole, mean, variance, -1, self.beta, self.gamma, self.epsilon
        )
        return keras.ops.cast(found, self.compute_dtype)


def _following(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Copies a layer of the network that learns for its slower copy."""
    norm = isinstance(layer, layers.BatchNormalization)
    return (BatchStatistics if norm else type(layer)).from_config(layer.get_config())


def _pooled(features: Any) -> Any:
    return layers.GlobalAveragePooling2D()(features) if len(features.shape) == 4 else features


def _projected(features: Any, widths: tuple[int, ...], name: str) -> Any:
    for number, width in enumerate(widths[:-1], 1):
        features = layers.Dense(width, use_bias=False, name=f"{name}_{number}")(features)
        features = layers.BatchNormalization(name=f"{name}_{number}_norm")(features)
        features = layers.ReLU(name=f"{name}_{number}_relu")(features)
    return layers.Dense(widths[-1], use_bias=False, name=f"{name}_{len(widths)}")(features)


def _whole(parts: list[Any]) -> Any:
    """Side by side, in whole precision: half floats are too coarse for a loss."""
    rows = layers.Concatenate(name="joined")(parts) if len(parts) > 1 else parts[0]
    return layers.Activation("linear", dtype="float32", name="rows")(rows)
