"""The fresh layers on top of a backbone: features in, logits out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from app.backbones.joining import POOLINGS
from app.recipe import Head

NORMALIZED = "normalized"
_log = logging.getLogger("graft")


def build_head(
    features: Any, head: Head, class_count: int, many_labels: bool = False, bias: Any = None
) -> Any:
    """Puts the layers of a head on the output of a backbone.

    Args:
        features: Keras tensor, `[batch, height, width, channels]` or `[batch, channels]`.
        head: What the layers look like.
        class_count: At least 2. Two classes share one logit, more have one each.
        many_labels: Whether an image carries any number of labels: then two have a logit
            each, too.
        bias: What the last bias starts from, a number each logit; zeros if None.

    Returns:
        Keras tensor of float32 logits, `[batch, 1]` or `[batch, class_count]`.
    """
    if len(features.shape) == 4:  # the compact network pools its own stages
        features = POOLINGS[head.pooling](name="pooling")(features)
    elif head.features == "last" and head.pooling == "max":
        _log.warning("head.pooling is max, but this backbone pools its own features, by the mean")
    if head.normalize:
        # Frozen: it scales by the training images' statistics, which `normalize` sets, and not
        # by those of a batch. Keras's Normalization would keep old ones in functions made before.
        features = keras.layers.BatchNormalization(
            center=False, scale=False, epsilon=1e-12, trainable=False, name=NORMALIZED
        )(features)
    widths = hidden_widths(head, features.shape[-1], class_count)
    _say_what_spoils(head, widths, features.shape[-1])
    for number, units in enumerate(widths, 1):
        features = _hidden_layer(head, number, units, features)
    dropped = _dropout(head, "logits")(features)
    return keras.layers.Dense(
        1 if class_count == 2 and not many_labels else class_count,
        kernel_initializer=head.initializer,
        kernel_regularizer=_penalty(head),
        bias_initializer="zeros" if bias is None else keras.initializers.Constant(bias),
        dtype="float32",  # also under mixed precision: half floats are too coarse for a loss
        name="logits",
    )(dropped)


def _say_what_spoils(head: Head, widths: tuple[int, ...], feature_count: int) -> None:
    if head.features == "every_block" and not head.normalize:
        _log.warning(
            "head.features is every_block, and features of different blocks differ in scale by"
            " orders of magnitude: set head.normalize true"
        )
    if head.normalize and not widths and head.initializer != "zeros":
        _log.warning(
            "head.initializer is %s: on %d normalized features random first weights add up to"
            " noise, which takes long to unlearn; set head.initializer zeros",
            head.initializer,
            feature_count,
        )
    if widths and head.initializer == "zeros":
        _log.warning(
            "head.initializer is zeros with hidden layers: the units of each start equal and"
            " get equal gradients, so that only dropout or a residual input can tell them"
            " apart; take glorot_uniform, or no hidden layer"
        )


def hidden_widths(head: Head, feature_count: int, class_count: int) -> tuple[int, ...]:
    """Returns how wide the hidden layers are: as they are given, or as a funnel.

    Each layer of a funnel is narrower than the one before it by the same factor, so that one
    more step of it would lead to the number of classes.

    Args:
        head: Its `units`, or its `funnel`.
        feature_count: Width of what the first hidden layer reads.
        class_count: No layer of a funnel is narrower than that.
    """
    if not head.funnel:
        return head.units
    factor = (class_count / feature_count) ** (1 / (head.funnel + 1))
    steps = range(1, head.funnel + 1)
    widths = tuple(max(round(feature_count * factor**step), class_count) for step in steps)
    _log.info("head: a funnel of %s units", ", ".join(map(str, widths)))
    return widths


def prior_bias(
    class_counts: Sequence[int], image_count: int | None = None, many_labels: bool = False
) -> list[float]:
    """Returns the logits that say how frequent each class is, whatever the image shows.

    Training that starts from them need not learn the frequencies first
    (arXiv 1708.02002, section 4.1).

    Args:
        class_counts: Training images of each class, in the order of the classes.
        image_count: Of training images in all; needed for many labels.
        many_labels: Whether an image carries any number of labels.

    Returns:
        The log odds of the second of two classes; the log share of each of more classes, less
        their mean; or the log odds of each label, half an image added to both sides for those
        that all images carry, or none.

    Raises:
        ValueError: If a class has no image, or the number of images is missing.
    """
    counts = np.array(class_counts, float)
    if many_labels:
        if image_count is None:
            raise ValueError("the odds of many labels need image_count")
        odds: list[float] = np.log((counts + 0.5) / (image_count - counts + 0.5)).tolist()
        return odds
    if counts.min() < 1:
        raise ValueError(f"class_counts are {list(class_counts)}: every class needs an image")
    logs = np.log(counts)
    shares: list[float] = (logs[1:] - logs[:1] if len(logs) == 2 else logs - logs.mean()).tolist()
    return shares


def _hidden_layer(head: Head, number: int, units: int, features: Any) -> Any:
    """Dropout, dense, normalisation, activation: normalised inputs reach the activation."""
    name = f"hidden_{number}"
    dropped = _dropout(head, name)(features)
    values = keras.layers.Dense(
        units,
        use_bias=not head.batch_norm,  # normalisation would subtract it again
        kernel_initializer=head.initializer,
        kernel_regularizer=_penalty(head),
        name=name,
    )(dropped)
    if head.batch_norm:
        values = keras.layers.BatchNormalization(name=f"{name}_norm")(values)
    values = keras.layers.Activation(head.activation, name=f"{name}_{head.activation}")(values)
    if not head.residual:
        return values
    shortcut = features if features.shape[-1] == units else _projected(head, name, units, dropped)
    return keras.layers.Add(name=f"{name}_sum")([values, shortcut])


def _projected(head: Head, name: str, units: int, features: Any) -> Any:
    """The input of a hidden layer in the width of its output (arXiv 1512.03385, section 3.2)."""
    return keras.layers.Dense(
        units,
        use_bias=False,
        kernel_initializer=head.initializer,
        kernel_regularizer=_penalty(head),
        name=f"{name}_projection",
    )(features)


def _penalty(head: Head) -> keras.Regularizer | None:
    return keras.regularizers.L1L2(head.l1, head.l2) if head.l1 or head.l2 else None


def _dropout(head: Head, name: str) -> keras.Layer:
    return keras.layers.Dropout(head.dropout, name=f"{name}_dropout")
