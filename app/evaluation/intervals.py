"""How sure a measured share is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 9_999


def share_with_interval(correct: NDArray[np.bool_], seed: int) -> dict[str, float]:
    """The mean with its 95 % percentile bootstrap interval (Efron 1979).

    Drawing n images again from n of which a share p is right makes a binomial count,
    so the resamples are drawn from that distribution at once.
    """
    share = float(correct.mean())
    draws = np.random.default_rng(seed).binomial(len(correct), share, RESAMPLES) / len(correct)
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"value": share, "low": float(low), "high": float(high)}
