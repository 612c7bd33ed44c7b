"""Which of two models is better, said with an interval. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import comb, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.evaluation.intervals import RESAMPLES

# Beyond it, exact sums are of numbers with hundreds of digits, and tell nothing more.
_MOST_THROWN = 2000
_MOST_NUMBERS = 4_000_000  # of random weights held at once: 32 MB


def paired_interval(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
    images: Sequence[Any] | None = None,
) -> tuple[float, float, float]:
    """Compares two models that answered the same images, perhaps in several runs each.

    A paired bootstrap: whole images are drawn again, with both answers to them, by random
    weights in place of counts (Rubin 1981, The Bayesian Bootstrap), so that no resample is
    empty. With several runs a resample first draws runs with replacement, then weighs the
    images within them. An image that several runs were tested on weighs the same in all of
    them (Owen and Eckles, arXiv 1106.2125): three runs on one test split are not three
    test splits.

    With several runs the interval is a little wide as a rule. Only where two or three runs
    differ by much more than the luck of their test images explains is it too narrow.

    Where the images that differ all speak for one side, however few they are, no resample can
    say otherwise. So the interval reaches to 0 unless the sign test finds a difference, too.

    Args:
        correct_a: Whether the first model was right, or any score, `[n]`; n at least 1.
        correct_b: The same of the second, for the same images in the same order.
        groups: The run (say, the seed) that each row comes from; one run if None. Each run
            counts the same, however many images it has.
        seed: Of the bootstrap.
        images: Which image each row is about; each row another image if None.

    Returns:
        How much better the first is (difference of the means), and the ends of the 95 %
        interval.

    Raises:
        ValueError: If there are no rows, or the lengths differ.
    """
    first, second = np.asarray(correct_a, float), np.asarray(correct_b, float)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"{first.shape} and {second.shape} answers cannot be compared in pairs")
    better = first - second
    run_of, runs = _numbered(groups, [0] * len(better))
    image_of, _ = _numbered(images, range(len(better)))
    sums, counts = np.zeros((2, image_of.max() + 1, runs))
    np.add.at(sums, (image_of, run_of), better)
    np.add.at(counts, (image_of, run_of), 1.0)
    drawn = np.concatenate(list(_resampled(sums, counts, np.random.default_rng(seed))))
    low, high = np.percentile(drawn, [2.5, 97.5])
    by_image = sums.sum(axis=1)
    won, lost = int((by_image > 0).sum()), int((by_image < 0).sum())
    if chance_explains(max(won, lost), min(won, lost)):
        low, high = min(low, 0.0), max(high, 0.0)
    return float((sums.sum(0) / counts.sum(0)).mean()), float(low), float(high)


def chance_explains(won: int, lost: int) -> bool:
    """Whether one of two that are equally good would win so often in more than 2.5 % of cases.

    The sign test, of which McNemar's is a case: each image at which two models differ falls to
    one of them like a coin.

    Args:
        won: Images at which the first was better.
        lost: At which the other was.
    """
    thrown = won + lost
    if thrown > _MOST_THROWN:  # the normal approximation, with its correction for steps
        return bool(won - lost - 1 <= 1.96 * sqrt(thrown))
    return 40 * sum(comb(thrown, heads) for heads in range(won, thrown + 1)) >= 1 << thrown


def _numbered(names: Sequence[Any] | None, otherwise: Sequence[int]) -> tuple[NDArray[Any], int]:
    """Numbers the names from 0; says how many there are."""
    given = otherwise if names is None else names
    if len(given) != len(otherwise):
        raise ValueError(f"{len(given)} names for {len(otherwise)} rows")
    known = {name: number for number, name in enumerate(dict.fromkeys(given))}
    return np.array([known[name] for name in given]), len(known)


def _resampled(
    sums: NDArray[Any], counts: NDArray[Any], random: np.random.Generator
) -> Iterator[NDArray[Any]]:
    """Yields the difference in each resample, some resamples at a time."""
    images, runs = sums.shape
    at_once = max(_MOST_NUMBERS // images, 1)
    for start in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - start)
        weights = random.standard_exponential((size, images))
        of_run = (weights @ sums) / (weights @ counts)
        chosen = random.integers(runs, size=(size, runs))
        yield np.take_along_axis(of_run, chosen, axis=1).mean(axis=1)
