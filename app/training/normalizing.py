"""Normalised inputs of a head: mean and variance of each feature over the training images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.heads import NORMALIZED

Rows = NDArray[np.floating[Any]]
# Mean and variance of each feature, float64 `[width]`.
Moments = tuple[NDArray[np.float64], NDArray[np.float64]]
# A deviation that is a smaller share of the mean than float16 can tell is none.
_LEAST_SHARE = 2.0**-10


def normalize(model: keras.Model, features: Callable[[], Moments]) -> None:
    """Sets the statistics of a head that normalises its features, once.

    Args:
        model: From `build_model`; left alone if its head has no such layer, or statistics.
        features: Gives the moments of what reaches that layer for the training images.
    """
    layer = next((layer for layer in model.layers if layer.name == NORMALIZED), None)
    if layer is None or np.any(np.asarray(layer.moving_mean)):
        return
    mean, variance = features()
    layer.moving_mean.assign(mean)
    # Divided by its deviation, a feature that never varies would become noise.
    layer.moving_variance.assign(np.where(variance <= (_LEAST_SHARE * mean) ** 2, 1.0, variance))


def moments(rows: Iterable[Rows]) -> Moments:
    """Returns mean and variance of each column, float64 `[width]`.

    In one pass, chunk by chunk (Chan, Golub and LeVeque 1983, "Algorithms for computing the
    sample variance", equation 2.1).

    Args:
        rows: `[some, width]` each.

    Raises:
        ValueError: If there is no row.
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for chunk in rows:
        values = np.asarray(chunk, np.float64)
        total = count + len(values)
        own = values.mean(axis=0)
        apart = own - mean
        squares = squares + ((values - own) ** 2).sum(axis=0)
        squares = squares + apart**2 * (count * len(values) / total)
        mean, count = mean + apart * (len(values) / total), total
    if not count:
        raise ValueError("no features to take the mean of")
    return mean, squares / count
