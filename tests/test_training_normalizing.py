"""Normalised features: the statistics, and where they come from."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import Head, Recipe
from app.data.views import view_batches
from app.heads import NORMALIZED
from app.preparation import prepare
from app.prepared import Prepared
from app.recipe import override
from app.training.normalizing import moments, normalize
from tests.small_nets import small_net

NORMALIZING = {"head.normalize": True, "head.features": "every_block"}


@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=6),
    st.floats(-1e3, 1e3),
    st.integers(0, 2**32 - 1),
)
def test_moments_of_chunks_are_those_of_all_rows(sizes: list[int], shift: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    chunks = [random.normal(shift, 2, (size, 3)) for size in sizes]
    mean, variance = moments(chunks)
    rows = np.concatenate(chunks)
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(variance, rows.var(axis=0), rtol=1e-6, atol=1e-9)


def test_moments_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no features"):
        moments([])


def features_of(prepared: Prepared) -> np.ndarray:
    """What reaches the normalisation, for every training image, from its pixels."""
    train = prepared.index.split("train")
    pixels = np.concatenate(list(view_batches(train, 0, None, prepared.image_size, 8)))
    layer = prepared.model.get_layer(NORMALIZED)
    return np.asarray(keras.Model(prepared.model.input, layer.input).predict(pixels, verbose=0))


@pytest.mark.parametrize("cached", [True, False])
def test_every_feature_has_mean_0_and_variance_1_over_the_training_images(
    cached: bool, tiny: Recipe
) -> None:
    prepared = prepare(override(tiny, {**NORMALIZING, "cache": cached}))
    with prepared.learner("warm_up", tiny.stages["warm_up"]):
        pass
    features = features_of(prepared)
    normalized = np.asarray(prepared.model.get_layer(NORMALIZED)(features))
    varies = features.std(axis=0) > 0.02 * np.abs(features.mean(axis=0))
    assert varies.mean() > 0.8
    np.testing.assert_allclose(normalized.mean(axis=0)[varies], 0, atol=0.02)
    np.testing.assert_allclose(normalized.std(axis=0)[varies], 1, atol=0.01)
    assert np.abs(normalized[:, ~varies]).max(initial=0) < 10


def test_the_statistics_stay_as_they_are_while_the_head_trains(
    tiny: Recipe, tmp_path: Path
) -> None:
    recipe = override(tiny, NORMALIZING)
    prepared = prepare(recipe)
    prepared.normalize()
    layer = prepared.model.get_layer(NORMALIZED)
    before = [np.array(weight) for weight in layer.weights]
    prepared.trainer(tmp_path).train(recipe.stages)
    for weight, old in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_a_feature_that_never_varies_stays_small() -> None:
    model = small_net(Head(normalize=True))
    width = model.get_layer(NORMALIZED).input.shape[-1]
    mean = np.arange(1.0, width + 1)
    normalize(model, lambda: (mean, np.r_[0.0, np.full(width - 1, 4.0)]))
    rows = (mean + 1)[None].astype("float32")
    found = np.asarray(model.get_layer(NORMALIZED)(rows))[0]
    np.testing.assert_allclose(found, np.r_[1.0, np.full(width - 1, 0.5)], rtol=1e-5)


def test_statistics_that_are_there_are_not_computed_again() -> None:
    model = small_net(Head(normalize=True))
    width = model.get_layer(NORMALIZED).input.shape[-1]
    normalize(model, lambda: (np.ones(width), np.ones(width)))
    normalize(model, lambda: pytest.fail("computed again"))


def test_a_head_that_does_not_normalize_needs_no_features() -> None:
    normalize(small_net(), lambda: pytest.fail("computed"))
