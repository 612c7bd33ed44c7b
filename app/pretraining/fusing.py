"""The copy of a network that pretraining trains: its BatchNorm is quick, and forgets sooner."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from app.backbones.compact import BATCH_NORM_MOMENTUM
from app.backbones.copying import copy_weights


@keras.saving.register_keras_serializable("graft")
class FusedBatchNormalization(layers.BatchNormalization):  # type: ignore[misc]  # no types
    """Keras's BatchNorm, but for training on TensorFlow, where Keras takes a dozen operations.

    Each of them reads and writes the whole feature map, and in half precision that costs more
    than the convolutions. The moving variance is that of a sample, by n - 1, as in TensorFlow's
    own operation: for the thousands of values of a channel no difference that matters.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalises feature maps `[n, rows, columns, channels]`, and moves the statistics."""
        maps = len(inputs.shape) == 4 and self.axis in (-1, 3)
        if not (training and self.trainable and maps) or mask is not None or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        scale = tf.ones_like(self.moving_mean) if self.gamma is None else self.gamma
        offset = tf.zeros_like(self.moving_mean) if self.beta is None else self.beta
        normalised, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.cast(scale, tf.float32),
            tf.cast(offset, tf.float32),
            epsilon=self.epsilon,
            is_training=True,
        )
        for moving, found in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + found * (1 - self.momentum))
        return normalised


def copy_to_train(base: keras.Model) -> keras.Model:
    """Returns the same network, of the same weights, to train in place of it.

    Args:
        base: A functional model. It is left as it is, so that what is saved of it needs no layer
            of this module.

    Returns:
        A copy. Its BatchNorm has forgotten the first statistics after some dozens of steps, where
        those of many networks take ten thousand: until then what is measured, and saved, would
        be normalised by what was before training.
    """

    def cloned(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if not isinstance(layer, layers.BatchNormalization):
            return type(layer).from_config(config)
        config["momentum"] = min(config["momentum"], BATCH_NORM_MOMENTUM)
        plain = type(layer) is layers.BatchNormalization
        fused = plain and keras.config.backend() == "tensorflow"
        return (FusedBatchNormalization if fused else type(layer)).from_config(config)

    copy = keras.models.clone_model(base, clone_function=cloned)
    copy_weights(base, copy)
    return copy
