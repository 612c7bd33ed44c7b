"""Metrics against their definitions, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from app.evaluation.metrics import measure

# Rows true, columns predicted: a is right 3 of 4 times, b 1 of 2, c never occurs.
LABELS = np.array([0, 0, 0, 0, 1, 1])
SHARES = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.6, 0.3, 0.1],
        [0.5, 0.2, 0.3],
        [0.1, 0.7, 0.2],
        [0.2, 0.7, 0.1],
        [0.1, 0.3, 0.6],
    ],
    "float32",
)
NAMES = ("a", "b", "c")


def test_counts_and_shares_are_those_counted_by_hand() -> None:
    found = measure(LABELS, SHARES, NAMES)
    assert found["count"] == 6
    assert found["accuracy"]["value"] == pytest.approx(4 / 6)
    assert found["confusion"] == [[3, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert found["classes"]["a"] == pytest.approx(
        {"precision": 1.0, "recall": 0.75, "f1": 6 / 7, "count": 4}
    )
    assert found["classes"]["b"] == pytest.approx(
        {"precision": 0.5, "recall": 0.5, "f1": 0.5, "count": 2}
    )
    assert found["macro_f1"] == pytest.approx((6 / 7 + 0.5 + 0.0) / 3)


@given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_scores_are_those_of_scikit_learn(classes: int, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    shares = random.dirichlet(np.ones(classes), count).astype("float32")
    names = [str(number) for number in range(classes)]
    found, said = measure(labels, shares, names), shares.argmax(axis=1)
    order = list(range(classes))
    wanted = reference.precision_recall_fscore_support(
        labels, said, labels=order, zero_division=0.0
    )
    for each, precision, recall, f1, number in zip(names, *wanted, strict=True):
        assert found["classes"][each] == pytest.approx(
            {"precision": precision, "recall": recall, "f1": f1, "count": number}
        )
    assert found["confusion"] == reference.confusion_matrix(labels, said, labels=order).tolist()


def test_a_class_that_never_occurs_scores_zero_without_a_warning() -> None:
    assert measure(LABELS, SHARES, NAMES)["classes"]["c"]["f1"] == 0.0


def test_the_loss_is_the_mean_surprise_in_nats() -> None:
    of_truth = [0.8, 0.6, 0.5, 0.1, 0.7, 0.3]
    assert measure(LABELS, SHARES, NAMES)["loss"] == pytest.approx(-np.log(of_truth).mean())


def test_the_interval_is_that_of_resampling_the_images() -> None:
    labels = np.zeros(80, int)
    shares = np.tile(np.array([[0.9, 0.1]], "float32"), (80, 1))
    shares[:20] = [0.2, 0.8]
    found = measure(labels, shares, ("a", "b"))["accuracy"]
    random = np.random.default_rng(5)
    correct = np.arange(80) >= 20
    means = [random.choice(correct, 80).mean() for _ in range(4000)]
    low, high = np.percentile(means, [2.5, 97.5])
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=0.015)


def test_the_interval_is_the_same_twice_and_shrinks_with_more_images() -> None:
    once = measure(LABELS, SHARES, NAMES)["accuracy"]
    assert once == measure(LABELS, SHARES, NAMES)["accuracy"]
    many = measure(np.tile(LABELS, 50), np.tile(SHARES, (50, 1)), NAMES)["accuracy"]
    assert many["high"] - many["low"] < (once["high"] - once["low"]) / 3
