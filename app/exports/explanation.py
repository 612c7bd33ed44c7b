"""Where in an image a network saw what it names: Grad-CAM, as a part of the export.

Source: Selvaraju et al. 2017, "Grad-CAM", arXiv 1610.02391. Behind a linear head on pooled maps
it is the class activation map of Zhou et al. 2016, arXiv 1512.04150, but for its scale.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from app.backbones.blocks import around_backbone
from app.exports.signatures import LIKELIEST


def with_last_map(model: keras.Model) -> keras.Model | None:
    """Returns a model that gives its last feature map `[n, h, w, channels]` beside its logits.

    Args:
        model: Pixels in, logits out; shares its layers with what comes back.

    Returns:
        None if the network has no backbone, or that no feature map.
    """
    try:
        entering, base, features = around_backbone(model)
    except ValueError:  # built by somebody else, without one
        return None
    maps = [layer.output for layer in base.layers if _is_map(layer)]
    if not maps:
        return None
    last, found = keras.Model(base.input, [maps[-1], base.output])(entering)
    return keras.Model(model.input, [last, keras.Model(features, model.output)(found)])


def _is_map(layer: keras.Layer) -> bool:
    entrance = isinstance(layer, keras.layers.InputLayer)
    return not entrance and len(getattr(layer.output, "shape", ())) == 4


def heat(last: tf.Tensor, logits: tf.Tensor, asked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Tells how much each place of an image speaks for a class. Works within a graph only.

    Args:
        last: Feature maps `[n, h, w, channels]`, from which the logits were computed.
        logits: `[n, 1]`, the log odds of the second of two classes, or `[n, classes]`.
        asked: int32 `[n]`, the numbers of classes; `LIKELIEST` for the likeliest of each image.

    Returns:
        float32 `[n, h, w]`, 0 where nothing speaks for the class, and 1 where most does; and
        int32 `[n]`, the classes that it was told of.

    Raises:
        InvalidArgumentError: If there is no such class.
    """
    logits = tf.concat([-logits, logits], axis=1) if logits.shape[-1] == 1 else logits
    likeliest = tf.argmax(logits, axis=1, output_type=tf.int32)
    chosen = tf.where(asked == LIKELIEST, likeliest, asked)
    with tf.device("/device:CPU:0"):  # a GPU would take a class that is none for one of zeros
        none = "class_index: there is no such class"
        known = [
            tf.debugging.assert_less(chosen, logits.shape[-1], none),
            tf.debugging.assert_non_negative(chosen, none),
        ]
    with tf.control_dependencies(known):  # what picks by it would say it in other words
        chosen = tf.identity(chosen)
    (slopes,) = tf.gradients(tf.gather(logits, chosen, batch_dims=1), last)
    weights = tf.reduce_mean(slopes, axis=[1, 2], keepdims=True)
    speaks = tf.cast(tf.nn.relu(tf.reduce_sum(weights * last, axis=3)), tf.float32)
    most = tf.reduce_max(speaks, axis=[1, 2], keepdims=True)
    return tf.math.divide_no_nan(speaks, most), chosen
