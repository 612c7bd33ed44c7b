"""The classifier: pixels in, backbone, fresh head, logits out; and what of it trains."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil
from typing import Any

import keras

from app.backbones.backbone import Backbone
from app.backbones.blocks import blocks
from app.backbones.build import scale_pixels
from app.backbones.joining import join_blocks
from app.errors import RecipeError
from app.heads import build_head, prior_bias
from app.recipe import Head


def build_model(
    backbone: Backbone,
    base: keras.Model,
    head: Head,
    class_count: int,
    seed: int,
    many_labels: bool = False,
    class_counts: Sequence[int] | None = None,
    image_count: int | None = None,
) -> keras.Model:
    """Puts a fresh head on a backbone whose own head was left off.

    Args:
        backbone: Says how pixels are scaled for it.
        base: The built backbone; it becomes the layer `backbone`.
        head: What the new layers look like.
        class_count: At least 2. Two classes share one logit, more have one each.
        seed: Of the new layers' first weights and of dropout.
        many_labels: Whether an image carries any number of labels: then two have a logit
            each, too.
        class_counts: Training images of each class; needed if the last bias starts from
            their shares.
        image_count: Training images in all; needed for the same with many labels.

    Returns:
        A model from pixels of 0 to 255, `[batch, size, size, 3]`, to float32 logits
        `[batch, 1]` or `[batch, class_count]`; `probabilities` reads them.

    Raises:
        ValueError: If such a count is needed and missing.
    """
    bias = None
    if head.output_bias == "priors":
        if class_counts is None:
            raise ValueError("head.output_bias is 'priors', which needs class_counts")
        bias = prior_bias(class_counts, image_count, many_labels)
    keras.utils.set_random_seed(seed)
    pixels = keras.Input(base.input.shape[1:], name="pixels")
    if head.features == "every_block":
        base = join_blocks(base, backbone, head.pooling)
    features = base(scale_pixels(pixels, backbone))
    logits = build_head(features, head, class_count, many_labels, bias)
    return keras.Model(pixels, logits, name="classifier")


def probabilities(logits: Any, many_labels: bool = False) -> Any:
    """Turns logits into probabilities of every class.

    Args:
        logits: `[batch, 1]`, the log odds of the second of two classes, or `[batch, classes]`.
        many_labels: Whether an image carries any number of labels: then each logit is the log
            odds of one.

    Returns:
        `[batch, classes]`, rows adding up to 1 unless there are many labels.
    """
    if many_labels:
        return keras.ops.sigmoid(logits)
    if logits.shape[-1] > 1:
        return keras.ops.softmax(logits)
    return keras.ops.concatenate([keras.ops.sigmoid(-logits), keras.ops.sigmoid(logits)], axis=-1)


def uncompiled(model: keras.Model) -> keras.Model:
    """Shares all layers with a model, and is saved without the state of an optimizer."""
    return keras.Model(model.input, model.output, name=model.name)


def unfreeze(
    model: keras.Model, backbone: Backbone, what: str, train_batch_norm: bool = False
) -> list[str]:
    """Sets which layers of the backbone train; the head always does.

    Keras takes this up when the model is compiled again, with a new optimizer.

    Args:
        model: From `build_model`.
        backbone: The one inside.
        what: `head`, `top:<k>` for the last k blocks, a block's name for it and all
            after it, `<block>..<block>` for these and those between them alone, a share of
            the blocks such as 0.3, or `all`.
        train_batch_norm: Whether BatchNorm trains in unfrozen blocks. If not, it is
            frozen itself: its statistics would move under `fit` even if the backbone
            were called with `training=False`.

    Returns:
        The names of the unfrozen blocks, from input to output.

    Raises:
        RecipeError: If the backbone has no such block, or has the two the other way round.
    """
    parts = blocks(model, backbone)
    names = list(parts)
    chosen = _chosen(what, names, backbone.name)
    for name, layers in parts.items():
        for layer in layers:
            normalises = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = name in chosen and (train_batch_norm or not normalises)
            if isinstance(layer, keras.layers.Dropout):
                _set_dropout(layer, active=name in chosen)
    return chosen


def _set_dropout(layer: keras.layers.Dropout, active: bool) -> None:
    """Silences dropout of frozen blocks, which drops whole paths in EfficientNets.

    `trainable` has no say in it, and a frozen block is to give the same features each time.
    """
    if not hasattr(layer, "rate_when_active"):
        layer.rate_when_active = layer.rate
    layer.rate = layer.rate_when_active if active else 0.0


def _chosen(what: str, names: list[str], backbone: str) -> list[str]:
    if what == "head":
        return []
    if what == "all":
        return names
    if what in names:
        return names[names.index(what) :]
    if what.startswith("top:"):
        return names[max(len(names) - int(what.removeprefix("top:")), 0) :]
    if ".." in what:
        return _between(what, names, backbone)
    if re.fullmatch(r"[01]?(\.\d*)?", what) and 0 < float(what) <= 1:
        return names[len(names) - ceil(float(what) * len(names)) :]
    raise _unknown(what, names, backbone)


def _between(what: str, names: list[str], backbone: str) -> list[str]:
    first, last = what.split("..", 1)
    for name in (first, last):
        if name not in names:
            raise _unknown(name, names, backbone)
    if names.index(first) > names.index(last):
        raise RecipeError(
            f"{backbone} has '{last}' before '{first}': unfreeze {last}..{first} instead"
        )
    return names[names.index(first) : names.index(last) + 1]


def _unknown(what: str, names: list[str], backbone: str) -> RecipeError:
    return RecipeError(
        f"{backbone} has no block '{what}' to unfreeze: it has {', '.join(names)};"
        " head, top:<k>, <block>..<block>, a share such as 0.3 and all are understood too"
    )
