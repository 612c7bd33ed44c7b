"""How far probabilities can be believed, and a temperature that brings them nearer to that."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from app.evaluation.many_labels import THRESHOLD

BINS = 15
_LEAST, _MOST = 0.05, 20.0


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[Any]) -> float:
    """Finds what logits are to be divided by so that the cross-entropy is the least.

    It changes no answer, only how sure it sounds (Guo et al. 2017, arXiv 1706.04599, section
    4.2). In the inverse of the temperature the cross-entropy is convex: there is one least.

    Args:
        logits: `[n, 1]` or `[n, classes]`, as a model gives them, of images that it was not
            trained on.
        labels: `[n]`, or `[n, classes]` of 0 and 1 where an image carries many.

    Returns:
        The temperature, from 0.05 to 20; over 1 where the model was too sure of itself. Where it
        made no mistake at least 1: the surer it were, the better it would fit.
    """
    of = logits.astype("float64")
    most = 1.0 if _without_mistake(logits, labels) else 1 / _LEAST

    def loss(inverse: float) -> float:
        return _cross_entropy(of * inverse, labels)

    found = minimize_scalar(loss, bounds=(1 / _MOST, most), method="bounded")
    # The search comes near a bound and does not reach it.
    return 1.0 if abs(found.x - 1) < 1e-4 else float(round(1 / found.x, 6))


def _without_mistake(logits: NDArray[np.float32], labels: NDArray[Any]) -> bool:
    if labels.ndim == 2 or logits.shape[1] == 1:
        return bool(((logits >= 0) == (labels.reshape(logits.shape) >= 0.5)).all())
    return bool((logits.argmax(axis=1) == labels).all())


def _cross_entropy(logits: NDArray[np.float64], labels: NDArray[Any]) -> float:
    if labels.ndim == 2 or logits.shape[1] == 1:
        truth = labels.reshape(logits.shape)
        return float(np.mean(np.logaddexp(0, logits) - truth * logits))
    whole = np.logaddexp.reduce(logits, axis=1)
    return float(np.mean(whole - logits[np.arange(len(labels)), labels]))


def cooled(
    probabilities: NDArray[np.float32], temperature: float, many_labels: bool = False
) -> NDArray[np.float32]:
    """Returns the probabilities that a temperature makes of those without one.

    Args:
        probabilities: `[n, classes]`.
        temperature: Divides the logits.
        many_labels: Whether each class is a question of its own.
    """
    if temperature == 1:
        return probabilities
    shares = probabilities.astype("float64").clip(1e-12, 1 - 1e-12)
    powers = shares ** (1 / temperature)
    others = (1 - shares) ** (1 / temperature)
    whole = powers + others if many_labels else powers.sum(axis=1, keepdims=True)
    found: NDArray[np.float32] = (powers / whole).astype("float32")
    return found


def calibration_error(probabilities: NDArray[np.float32], labels: NDArray[Any]) -> float:
    """Returns the expected calibration error: how far confidence and accuracy lie apart.

    Over fifteen bins of equal width, weighed by their images (Guo et al. 2017, equation 3).
    With many labels each yes or no counts as an answer.

    Args:
        probabilities: `[n, classes]`; n at least 1.
        labels: `[n]`, or `[n, classes]` of 0 and 1.
    """
    if labels.ndim == 2:
        said = probabilities >= THRESHOLD
        sure = np.where(said, probabilities, 1 - probabilities).ravel()
        right = (said == labels.astype(bool)).ravel()
    else:
        sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, sure - right, BINS)
    return float(np.abs(gaps).sum() / len(sure))
