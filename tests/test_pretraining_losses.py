"""The losses of pretraining, against their equations written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from app.pretraining.losses import (
    barlow_twins,
    bootstrap,
    decoupled_contrastive,
    loss_of,
    misread,
)

ROWS = np.random.default_rng(0).normal(size=(10, 4)).astype("float32")


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_decoupled_contrastive_leaves_the_pair_out_of_what_it_is_compared_with() -> None:
    losses = []
    for number, row in enumerate(ROWS):
        pair = (number + 5) % 10
        others = [ROWS[k] for k in range(10) if k % 5 != number % 5]
        below = np.log(sum(np.exp(cosine(row, other) / 0.2) for other in others))
        losses.append(below - cosine(row, ROWS[pair]) / 0.2)
    assert float(decoupled_contrastive(ROWS, 0.2)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_barlow_twins_wants_the_identity_of_correlations() -> None:
    first, second = ROWS[:5], ROWS[5:]
    wanted = 0.0
    for i in range(4):
        for j in range(4):
            correlation = np.corrcoef(first[:, i], second[:, j])[0, 1]
            wanted += (1 - correlation) ** 2 if i == j else 0.005 * correlation**2
    assert float(barlow_twins(ROWS)) == pytest.approx(wanted / 4, rel=1e-3)


def test_barlow_twins_of_equal_views_with_independent_features_is_nothing() -> None:
    signs = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)], "float32")
    assert float(barlow_twins(np.concatenate([signs, signs]))) == pytest.approx(0, abs=1e-6)


def test_bootstrap_compares_what_is_foretold_with_the_other_view() -> None:
    rows = np.random.default_rng(1).normal(size=(6, 8)).astype("float32")
    foretold, found = rows[:, :4], rows[:, 4:]
    wanted = np.mean([2 - 2 * cosine(foretold[k], found[(k + 3) % 6]) for k in range(6)])
    assert float(bootstrap(rows)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("method", ["dcl", "barlow_twins"])
def test_views_that_agree_cost_less_than_views_that_do_not(method: str) -> None:
    loss = loss_of(method, 0.2)
    agreeing = np.concatenate([ROWS[:5], ROWS[:5]])
    assert float(loss(None, agreeing)) < float(loss(None, ROWS))


def test_classification_is_cross_entropy_of_logits() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 3.0]], "float32")
    found = float(loss_of("classification", 1.0)(np.array([0, 0]), logits))
    assert found == pytest.approx((np.log1p(np.exp(-2)) + np.log1p(np.exp(3))) / 2, rel=1e-5)


def test_a_second_task_is_added_by_its_weight() -> None:
    wanted = np.random.default_rng(3).normal(size=(10, 2)).astype("float32")
    rows = np.concatenate([ROWS, np.zeros((10, 2), "float32")], axis=1)
    alone = float(decoupled_contrastive(ROWS, 0.2))
    both = float(loss_of("dcl", 0.2, descriptors=3.0)(wanted, rows))
    assert both == pytest.approx(alone + 3 * float(misread(wanted, 0 * wanted)), rel=1e-5)


@pytest.mark.parametrize("method", ["dcl", "barlow_twins", "byol"])
def test_a_row_of_zeros_leaves_the_gradient_a_number(method: str) -> None:
    """A narrow projection gives such rows: all of its units may be below 0 for an image."""
    rows = tf.Variable(np.concatenate([np.zeros((1, 4), "float32"), ROWS[1:]]))
    with tf.GradientTape() as tape:
        loss = loss_of(method, 0.2)(None, rows)
    gradient = tape.gradient(loss, rows)
    assert np.isfinite(gradient).all()
    assert np.any(gradient[1:])
