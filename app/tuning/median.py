"""The median rule, which ends hopeless trials early. Standard library only."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

# Completed trials before the median says anything.
LEAST_TRIALS = 5
# The share of its epochs that each trial has first: the order of learning curves before is that
# of their learning rates.
GRACE = 0.25


def is_hopeless(curve: Sequence[float], completed: Sequence[Sequence[float]], epochs: int) -> bool:
    """Tells whether a trial should stop, by the median rule.

    Its best accuracy so far is below the median, over the completed trials, of the mean
    accuracy up to the same epoch (Golovin et al. 2017, Google Vizier, section 3.2.2). Within
    its first epochs none is.

    Args:
        curve: Validation accuracy after each epoch so far.
        completed: The same of trials that have come to their end.
        epochs: That it is to have.
    """
    if len(curve) < GRACE * epochs:
        return False
    means = [statistics.fmean(each[: len(curve)]) for each in completed if each]
    return len(means) >= LEAST_TRIALS and max(curve) < statistics.median(means)
