"""A dictionary of patches, learned without labels."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from app.data.generated import generate
from app.pretraining import dictionary
from app.pretraining.dictionary import PATCH, SIDE, STRIDE, Dictionary, learn_dictionary

PICTURES = generate(range(200), 32)
WORDS = 8


@pytest.fixture(scope="module")
def learned() -> Dictionary:
    return learn_dictionary(PICTURES, WORDS, seed=0)


def test_strengths_are_those_of_each_patch_written_out(learned: Dictionary) -> None:
    """Each patch brought to mean 0 and variance 1, multiplied, averaged."""
    image = PICTURES[3].astype("float64")
    places = range(0, SIDE - PATCH + 1, STRIDE)
    strengths = np.zeros((len(places), len(places), WORDS))
    for row, top in enumerate(places):
        for column, left in enumerate(places):
            patch = image[top : top + PATCH, left : left + PATCH]
            patch = (patch - patch.mean()) / np.sqrt(patch.var() + 10)
            found = (patch[..., None] * learned.kernels).sum(axis=(0, 1, 2)) - learned.offsets
            strengths[row, column] = np.maximum(found - 0.25, 0)
    found = learned.describe(tf.constant(PICTURES[3:4])).numpy()[0]
    np.testing.assert_allclose(found, np.sqrt(strengths.mean(axis=(0, 1))), atol=2e-3)


def test_the_same_seed_learns_the_same_words(learned: Dictionary) -> None:
    again = learn_dictionary(PICTURES, WORDS, seed=0)
    np.testing.assert_array_equal(again.kernels, learned.kernels)
    other = learn_dictionary(PICTURES, WORDS, seed=1)
    assert not np.array_equal(other.kernels, learned.kernels)


def test_words_differ_from_one_another(learned: Dictionary) -> None:
    rows = learned.kernels.reshape(-1, WORDS).T
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    likeness = rows @ rows.T - np.eye(WORDS)
    assert likeness.max() < 0.95


def test_clusters_that_are_there_are_found() -> None:
    random = np.random.default_rng(0)
    axes = np.eye(5)[:3]
    rows = axes[random.integers(3, size=600)] + random.normal(0, 0.05, (600, 5))
    words = dictionary._clustered(rows, 3, random)
    np.testing.assert_allclose(np.sort((words @ axes.T).max(axis=0)), 1, atol=0.01)


def test_images_of_any_size_are_described(learned: Dictionary) -> None:
    for size in (8, 33, 64):
        found = learned.describe(tf.constant(generate(range(2), size)))
        assert found.shape == (2, learned.width) == (2, WORDS)
        assert np.isfinite(found).all()


def test_a_picture_of_one_colour_has_no_patch_in_it(learned: Dictionary) -> None:
    flat = learned.describe(tf.constant(np.full((1, 32, 32, 3), 80, np.uint8))).numpy()
    busy = learned.describe(tf.constant(PICTURES)).numpy()
    assert flat.mean() < busy.mean()
