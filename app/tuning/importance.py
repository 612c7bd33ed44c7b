"""How much each setting matters to what a search found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.kinds import Leaf
from app.tuning.trials import COMPLETED, STOPPED, Trial

# Fewer trials tell nothing.
LEAST_TRIALS = 10
_TREES, _SHUFFLES = 100, 10


def importance(trials: Sequence[Trial], seed: int = 0) -> dict[str, float]:
    """Estimates which share of what can be foretold of the accuracy each setting accounts for.

    A random forest learns accuracy from the settings; how much worse it foretells it when the
    values of one setting are shuffled is what that setting counts (Breiman 2001, "Random
    Forests", section 10).

    Args:
        trials: All of a search.
        seed: Of the forest.

    Returns:
        Shares by path, the largest first, which add up to 1; empty if the trials are too few, or
        the forest does not foretell the trials that it was not grown from.
    """
    from sklearn.ensemble import RandomForestRegressor  # 1.6 CPU seconds, for searches alone
    from sklearn.inspection import permutation_importance

    used = [each for each in trials if each.status in (COMPLETED, STOPPED) and each.number]
    paths = varied(used)
    if len(used) < LEAST_TRIALS or not paths:
        return {}
    rows = np.column_stack([column([each.changes.get(path) for each in used]) for path in paths])
    wanted = np.array([each.outcome.accuracy for each in used])
    forest = RandomForestRegressor(_TREES, oob_score=True, random_state=seed).fit(rows, wanted)
    if forest.oob_score_ <= 0:
        return {}
    found = permutation_importance(forest, rows, wanted, n_repeats=_SHUFFLES, random_state=seed)
    counts = found.importances_mean.clip(0)
    if not counts.any():
        return {}
    shares = dict(zip(paths, (counts / counts.sum()).tolist(), strict=True))
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def varied(trials: Sequence[Trial]) -> list[str]:
    """Names the settings that differ between trials."""
    paths = list(dict.fromkeys(path for each in trials for path in each.changes))
    return [path for path in paths if len({each.changes.get(path) for each in trials}) > 1]


def column(values: Sequence[Leaf]) -> NDArray[np.float64]:
    """Puts values of a setting on a scale from 0 to 1: numbers by size, all else by rank.

    Numbers that span more than a factor of 20 are put on a logarithmic scale. A setting that a
    trial does not have lies below all others, at -0.1.
    """
    given = [each for each in values if each is not None]
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in given):
        numbers = np.array([np.nan if each is None else float(each) for each in values])  # type: ignore[arg-type]  # all are numbers
        if np.nanmin(numbers) > 0 and np.nanmax(numbers) > 20 * np.nanmin(numbers):
            numbers = np.log(numbers)
    else:
        ranks = {name: rank for rank, name in enumerate(sorted(set(map(str, given))))}
        numbers = np.array([np.nan if each is None else ranks[str(each)] for each in values])
    low, high = np.nanmin(numbers), np.nanmax(numbers)
    scaled: NDArray[np.float64] = (numbers - low) / max(high - low, 1e-12)
    return np.where(np.isnan(scaled), -0.1, scaled)
