"""Features that have collapsed: all images the same, or told apart in one way only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Below these nothing is left to tell images apart by: directions that are all one, or a single
# axis along which they differ.
LEAST_DEVIATION, LEAST_RANK = 0.02, 1.5


@dataclass(frozen=True)
class Spread:
    """How features of different images differ.

    Attributes:
        deviation: Mean standard deviation of the parts of the directions, times the root of how
            many they are: about 1 where directions are all over, 0 where they are the same.
        rank: Effective rank: along how many axes they differ.
    """

    deviation: float
    rank: float

    @property
    def collapsed(self) -> bool:
        """Whether nothing is left to tell images apart by."""
        return not (self.deviation >= LEAST_DEVIATION and self.rank >= LEAST_RANK)


def spread_of(features: NDArray[Any]) -> Spread:
    """Measures how features differ.

    The deviation is that of Chen and He 2020 (arXiv 2011.10566, section 4.1); the effective rank
    is the exponential of the entropy of the shares of the singular values (Roy and Vetterli 2007,
    "The effective rank", doi 10.5281/zenodo.40423), of features less their mean.

    Args:
        features: `[n, width]`, each row of another image.

    Returns:
        Both; not a number if some features are not.
    """
    rows = np.asarray(features, np.float64)
    if not np.isfinite(rows).all():
        return Spread(float("nan"), float("nan"))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    directions = rows / np.maximum(lengths, 1e-12)
    deviation = float(directions.std(axis=0).mean() * rows.shape[1] ** 0.5)
    values = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    if values.sum() <= 1e-12 * max(float(lengths.max(initial=0)), 1e-12):
        return Spread(deviation, 1.0)
    shares = values / values.sum()
    shares = shares[shares > 0]
    return Spread(deviation, float(np.exp(-(shares * np.log(shares)).sum())))
