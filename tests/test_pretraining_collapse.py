"""Features that have collapsed are told from those that have not."""

from __future__ import annotations

import numpy as np
import pytest

from app.pretraining.collapse import spread_of

RANDOM = np.random.default_rng(0)


def test_features_all_over_have_deviation_1_and_full_rank() -> None:
    found = spread_of(RANDOM.normal(size=(2000, 8)))
    assert found.deviation == pytest.approx(1, abs=0.02)
    assert found.rank == pytest.approx(8, abs=0.1)
    assert not found.collapsed


@pytest.mark.parametrize(
    "features",
    [
        np.ones((20, 6)),
        np.zeros((20, 6)),
        np.ones((20, 6)) + 1e-4 * RANDOM.normal(size=(20, 6)),  # the same but for noise
        np.outer(RANDOM.normal(size=20), RANDOM.normal(size=6)),  # along one axis
        np.full((20, 6), np.nan),
    ],
)
def test_features_that_tell_nothing_apart_have_collapsed(features: np.ndarray) -> None:
    assert spread_of(features).collapsed


def test_the_effective_rank_is_that_of_equal_axes() -> None:
    axes = np.repeat(np.eye(5), 2, axis=0) * np.tile([1, -1], 5)[:, None]
    assert spread_of(axes).rank == pytest.approx(5)
