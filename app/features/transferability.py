"""How well the features of a network suit some labels, before anything is trained. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rows = NDArray[np.float64]

# How far the ratio of prior to noise precision may lie from the largest squared singular
# value. Features that explain a label without any noise would else have infinite evidence.
_RATIOS = np.logspace(-10, 10, 101)
_FIXED_POINT_STEPS = 100
# Of ridge regression, as parts of the mean squared singular value.
_PENALTIES = np.logspace(-4, 4, 33)


@dataclass(frozen=True)
class Evidence:
    """The evidence of Bayesian linear regression at its maximum, by target.

    Attributes:
        log: Natural logarithm of the evidence, `[targets]`.
        alpha: Precision of the prior of the weights, `[targets]`.
        beta: Precision of the noise, `[targets]`.
    """

    log: Rows
    alpha: Rows
    beta: Rows


@dataclass(frozen=True)
class _Spectrum:
    """All that the evidence depends on.

    Attributes:
        count: Of rows.
        squares: Squared singular values above zero, `[rank, 1]`.
        inside: Squared parts of the targets along the left singular vectors, `[rank, targets]`.
        outside: Squared length of the rest of each target, `[targets]`.
    """

    count: int
    squares: Rows
    inside: Rows
    outside: Rows


def logme(features: ArrayLike, targets: ArrayLike) -> float:
    """Scores features by LogME: the log evidence of the labels at its maximum, an image.

    You et al. 2021, arXiv 2102.11005: each column of the targets is regressed on the features
    by itself, and the logarithms of the evidences are averaged over columns and images. A
    column that is the same for all images says nothing of the features and is left out.

    Args:
        features: `[n, d]`, at any scale.
        targets: `[n, classes]`, 1 where an image belongs to the class or carries the label,
            else 0.

    Returns:
        The score. Higher is better; only scores of the same images can be compared.

    Raises:
        ValueError: If the shapes do not fit, a number is not finite, or every column of the
            targets is the same for all images.
    """
    rows, wanted = _checked(features, targets)
    return float(evidence(rows, wanted[:, telling(wanted)]).log.mean() / len(rows))


def evidence(features: ArrayLike, targets: ArrayLike) -> Evidence:
    """Finds the prior and the noise that make targets most likely, given the features.

    A target is `F w` and noise, `w ~ N(0, 1 / alpha)`, noise `~ N(0, 1 / beta)`, so that
    `y ~ N(0, I / beta + F F^T / alpha)`. By the singular value decomposition of F the evidence
    depends on `alpha / beta` alone, for which the best beta is known, and costs one sum over
    the singular values (You et al. 2021, arXiv 2110.10545; the fixed point is MacKay's). The
    fixed point starts from the best of a grid, since alone it may end in a lower maximum.

    Args:
        features: `[n, d]`.
        targets: `[n, targets]`, none of them zero for all images.

    Returns:
        What was found. `alpha / beta` is kept within 1e-10 to 1e10 times the largest squared
        singular value: at the lower end the features explain a target without any noise, at
        the upper they say nothing of it.

    Raises:
        ValueError: If the shapes do not fit, a number is not finite, or a target is zero for
            all images: without any noise that is infinitely likely.
    """
    rows, wanted = _checked(features, targets)
    if not wanted.any(axis=0).all():
        raise ValueError("a target is zero for all images: leave it out")
    spectrum = _spectrum(rows, wanted)
    columns = np.arange(wanted.shape[1])
    grid = np.outer(_RATIOS * _scale(spectrum), np.ones(len(columns)))
    best = np.argmax([_log_evidence(spectrum, ratio) for ratio in grid], axis=0)
    ratios = np.stack([grid[best, columns], _fixed_point(spectrum, grid[best, columns])])
    logs = np.array([_log_evidence(spectrum, ratio) for ratio in ratios])
    chosen = logs.argmax(axis=0)
    ratio = ratios[chosen, columns]
    beta = spectrum.count / _misfit(spectrum, ratio)
    return Evidence(logs[chosen, columns], ratio * beta, beta)


def held_out_scores(features: ArrayLike, targets: ArrayLike) -> Rows:
    """Answers each image by a linear classifier fitted to all the others.

    Ridge regression of the targets with a constant, whose leave-one-out answers follow from
    one fit: what is left over at an image, divided by one minus its leverage (Allen 1974, "The
    Relationship between Variable Selection and Data Augmentation and a Method for
    Prediction", PRESS). The penalty is the one of 33 whose answers have the least squared
    error, one for all columns.

    Args:
        features: `[n, d]`, n at least 2. No two rows should be of the same image: one would
            answer the other.
        targets: `[n, classes]`, of 0 and 1.

    Returns:
        `[n, classes]`; the largest of a row is its class.

    Raises:
        ValueError: If the shapes do not fit, or a number is not finite.
    """
    rows, wanted = _checked(features, targets)
    mean = wanted.mean(axis=0)
    left, values = _decomposed(rows - rows.mean(axis=0))
    along = left.T @ (wanted - mean)
    squares = values[:, None] ** 2
    best, least = wanted, np.inf
    for penalty in _PENALTIES * (squares.mean() if len(squares) else 1.0):
        kept = squares / (squares + penalty)
        leverage = 1 / len(rows) + left**2 @ kept
        missed = (wanted - mean - left @ (kept * along)) / (1 - leverage)
        error = float((missed**2).sum())
        if error < least:
            best, least = wanted - missed, error
    return best


def ranking_precision(scores: ArrayLike, targets: ArrayLike) -> Rows:
    """Returns how high the labels of each image rank among all, 0 to 1.

    Label ranking average precision: over the labels of an image, the mean share of its labels
    among those that score at least as high (Schapire and Singer 2000, "BoosTexter"). Images
    that carry no label, or all, have 1.

    Args:
        scores: `[n, labels]`.
        targets: `[n, labels]`, of 0 and 1.

    Raises:
        ValueError: If the shapes do not fit, or a number is not finite.
    """
    rows, wanted = _checked(scores, targets)
    result = np.ones(len(rows))
    for number, (row, there) in enumerate(zip(rows, wanted > 0.5, strict=True)):
        if there.any():
            own = row[there]
            above = (row >= own[:, None]).sum(axis=1)
            result[number] = ((own >= own[:, None]).sum(axis=1) / above).mean()
    return result


def telling(targets: Rows) -> NDArray[np.bool_]:
    """Says which columns tell images apart, `[classes]`.

    Raises:
        ValueError: If none does.
    """
    different: NDArray[np.bool_] = targets.min(axis=0) < targets.max(axis=0)
    if not different.any():
        raise ValueError("every column of the targets is the same for all images")
    return different


def _checked(features: ArrayLike, targets: ArrayLike) -> tuple[Rows, Rows]:
    rows, wanted = np.asarray(features, float), np.asarray(targets, float)
    if rows.ndim != 2 or wanted.ndim != 2 or len(rows) != len(wanted) or len(rows) < 2:
        raise ValueError(f"features {rows.shape} and targets {wanted.shape} do not fit together")
    if not (np.isfinite(rows).all() and np.isfinite(wanted).all()):
        raise ValueError("features or targets hold numbers that are not finite")
    return rows, wanted


def _decomposed(rows: Rows) -> tuple[Rows, Rows]:
    """Returns the left singular vectors `[n, rank]` and the singular values `[rank]`."""
    left, values, _ = np.linalg.svd(rows, full_matrices=False)
    rank = int((values > values.max(initial=0.0) * max(rows.shape) * np.finfo(float).eps).sum())
    return left[:, :rank], values[:rank]


def _spectrum(rows: Rows, wanted: Rows) -> _Spectrum:
    left, values = _decomposed(rows)
    along = left.T @ wanted
    outside = ((wanted - left @ along) ** 2).sum(axis=0)
    return _Spectrum(len(rows), values[:, None] ** 2, along**2, outside)


def _scale(spectrum: _Spectrum) -> float:
    return float(spectrum.squares.max(initial=0.0)) or 1.0


def _misfit(spectrum: _Spectrum, ratio: Rows) -> Rows:
    """Returns `y^T (I + F F^T / ratio)^-1 y` of each target."""
    missed = spectrum.inside * ratio / (ratio + spectrum.squares)
    result: Rows = missed.sum(axis=0) + spectrum.outside
    return result


def _log_evidence(spectrum: _Spectrum, ratio: Rows) -> Rows:
    """Returns the log evidence of each target at the best beta for its ratio."""
    count = spectrum.count
    volume = np.log1p(spectrum.squares / ratio).sum(axis=0)
    result: Rows = -0.5 * (
        count * np.log(2 * np.pi * _misfit(spectrum, ratio) / count) + count + volume
    )
    return result


def _fixed_point(spectrum: _Spectrum, ratio: Rows) -> Rows:
    """Iterates MacKay's two equations for alpha and beta, as one for their ratio."""
    squares, scale = spectrum.squares, _scale(spectrum)
    for _ in range(_FIXED_POINT_STEPS):
        share = squares / (ratio + squares)
        known = share.sum(axis=0)
        length = (spectrum.inside * share / (ratio + squares)).sum(axis=0)
        missed = (spectrum.inside * (1 - share) ** 2).sum(axis=0) + spectrum.outside
        with np.errstate(divide="ignore", invalid="ignore"):  # nothing explained, or everything
            following = known * missed / (length * (spectrum.count - known))
        following = np.where(np.isfinite(following), following, ratio)
        ratio = np.clip(following, scale * _RATIOS[0], scale * _RATIOS[-1])
    return ratio


def credit_of(scores: Rows, targets: Rows, many_labels: bool) -> Rows:
    """Returns how right the answer to each image is, 0 to 1: `is_right`, or `ranking_precision`."""
    return ranking_precision(scores, targets) if many_labels else is_right(scores, targets)


def is_right(scores: Rows, targets: Rows) -> Rows:
    """Returns 1 where the largest score is that of the class, else 0; `[n]`."""
    right: Rows = (scores.argmax(axis=1) == targets.argmax(axis=1)).astype(float)
    return right
