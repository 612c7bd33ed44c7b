"""What is minimised where there are no labels: how much two views of an image disagree."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def decoupled_contrastive(rows: Any, temperature: float) -> Any:
    """Tells the two views of each image from the views of all others.

    Decoupled: an image's own pair is left out of the sum that it is compared with, so that
    small batches learn, too (Yeh et al. 2022, "Decoupled Contrastive Learning",
    arXiv 2110.06848, equation 6).

    Args:
        rows: Projected views, `[2 n, width]`: all first ones, then all second ones.
        temperature: Divides the cosines.

    Returns:
        The mean over all views, a scalar.
    """
    rows = _directions(ops.cast(rows, "float32"))
    count = ops.shape(rows)[0] // 2
    cosines = ops.matmul(rows, ops.transpose(rows)) / temperature
    number = ops.arange(2 * count)
    same = ops.equal(number[:, None] % count, number[None] % count)
    others = ops.where(same, -1e9, cosines)
    own = ops.sum(rows * ops.roll(rows, count, axis=0), axis=1) / temperature
    return ops.mean(ops.logsumexp(others, axis=1) - own)


def barlow_twins(rows: Any, redundancy: float = 0.005) -> Any:
    """Makes the features of both views agree, and each feature say something of its own.

    Zbontar et al. 2021, arXiv 2103.03230, section 2.1: the matrix of correlations between
    features of the first and of the second views is to be the identity.

    Args:
        rows: Projected views, `[2 n, width]`: all first ones, then all second ones.
        redundancy: Weight of what is off the diagonal.

    Returns:
        A scalar, divided by the width.
    """
    first, second = ops.split(ops.cast(rows, "float32"), 2, axis=0)
    count, width = ops.cast(ops.shape(first)[0], "float32"), first.shape[1]
    first, second = (_standardised(part) for part in (first, second))
    correlations = ops.matmul(ops.transpose(first), second) / count
    wanted = ops.eye(width)
    misses = ops.square(correlations - wanted)
    return ops.sum(misses * (wanted + redundancy * (1 - wanted))) / width


def bootstrap(rows: Any) -> Any:
    """Has each view foretell what a slower copy of the network makes of the other view.

    Grill et al. 2020, "Bootstrap Your Own Latent", arXiv 2006.07733, equation 2.

    Args:
        rows: Foretold and found, side by side: `[2 n, 2 width]`, all first views, then all
            second ones.

    Returns:
        2 - 2 times the mean cosine, a scalar.
    """
    foretold, found = ops.split(ops.cast(rows, "float32"), 2, axis=1)
    found = ops.roll(found, ops.shape(found)[0] // 2, axis=0)
    cosines = ops.sum(_directions(foretold) * _directions(found), axis=1)
    return 2 - 2 * ops.mean(cosines)


def loss_of(method: str, temperature: float, descriptors: float = 0.0) -> Any:
    """Returns what Keras minimises for a method: a function of labels and outputs.

    Args:
        method: See `Pretraining`.
        temperature: Of dcl.
        descriptors: Weight of how badly the last outputs foretell what stands in place of
            labels, `[2 n, width]`; 0 if there is nothing of the kind.
    """
    if method == "classification":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def agreement(rows: Any) -> Any:
        if method == "dcl":
            return decoupled_contrastive(rows, temperature)
        return barlow_twins(rows) if method == "barlow_twins" else bootstrap(rows)

    def loss(wanted: Any, rows: Any) -> Any:
        if not descriptors:
            return agreement(rows)
        width = wanted.shape[1]
        return agreement(rows[:, :-width]) + descriptors * misread(wanted, rows[:, -width:])

    return loss


def misread(wanted: Any, foretold: Any) -> Any:
    """Returns the mean squared error of descriptors: the share of their variance that is missed.

    Args:
        wanted: From `Descriptors`, `[rows, width]`.
        foretold: The same shape.
    """
    return ops.mean(ops.square(ops.cast(wanted, "float32") - ops.cast(foretold, "float32")))


def _directions(rows: Any) -> Any:
    """Scales rows to length 1; of `ops.normalize` the gradient at a row of zeros is no number."""
    return rows * ops.rsqrt(ops.sum(ops.square(rows), axis=1, keepdims=True) + 1e-12)


def _standardised(rows: Any) -> Any:
    mean, variance = ops.moments(rows, axes=0, keepdims=True)
    return (rows - mean) / ops.sqrt(variance + 1e-5)
