"""Metrics of many labels, counted by hand and against scikit-learn."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from app.evaluation.many_labels import average_precision, measure_many_labels
from app.evaluation.metrics import measure

# A row an image: both right; one too many; one missed; none there and none said.
TRUTH = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], "float32")
SHARES = np.array([[0.9, 0.5, 0.1], [0.8, 0.7, 0.2], [0.3, 0.4, 0.1], [0.2, 0.1, 0.3]], "float32")
NAMES = ("a", "b", "c")


def test_counts_and_shares_are_those_counted_by_hand() -> None:
    found = measure_many_labels(TRUTH, SHARES, NAMES)
    assert found["count"] == 4
    assert found["accuracy"]["value"] == 2 / 4  # the first image and the last
    assert found["hamming_loss"] == pytest.approx(2 / 12)
    assert found["classes"]["a"] == {
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
        "average_precision": 1.0,
        "count": 2,
    }
    # By falling probability b is not there, there, there.
    assert found["classes"]["b"] == pytest.approx(
        {
            "precision": 0.5,
            "recall": 0.5,
            "f1": 0.5,
            "average_precision": 1 / 2 * 1 / 2 + 1 / 2 * 2 / 3,
            "count": 2,
        }
    )
    assert found["macro_f1"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert found["mean_average_precision"] == pytest.approx((1 + 7 / 12) / 2)


def test_a_label_is_said_from_a_half_on() -> None:
    shares = np.array([[0.5, 0.4999]], "float32")
    found = measure_many_labels(np.array([[1, 0]], "float32"), shares, ("a", "b"))
    assert found["accuracy"]["value"] == 1.0


def test_the_loss_is_the_mean_surprise_of_every_answer_in_nats() -> None:
    of_truth = [0.9, 0.5, 0.9, 0.8, 0.3, 0.8, 0.7, 0.4, 0.9, 0.8, 0.9, 0.7]
    found = measure_many_labels(TRUTH, SHARES, NAMES)
    assert found["loss"] == pytest.approx(-np.log(of_truth).mean())


def test_a_label_that_never_occurs_has_no_average_precision() -> None:
    found = measure_many_labels(TRUTH, SHARES, NAMES)
    assert found["classes"]["c"] == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "average_precision": None,
        "count": 0,
    }
    nothing = measure_many_labels(np.zeros([2, 2], "float32"), SHARES[:2, :2], ("a", "b"))
    assert nothing["mean_average_precision"] is None


def test_the_interval_of_all_labels_right_is_that_of_resampling_the_images() -> None:
    truth = np.ones([80, 2], "float32")
    shares = np.full([80, 2], 0.9, "float32")
    shares[:20, 1] = 0.2
    found = measure_many_labels(truth, shares, ("a", "b"))["accuracy"]
    random = np.random.default_rng(5)
    means = [random.choice(np.arange(80) >= 20, 80).mean() for _ in range(4000)]
    low, high = np.percentile(means, [2.5, 97.5])
    assert found["value"] == 0.75
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=0.015)


def test_labels_in_columns_are_measured_as_many() -> None:
    found = measure(TRUTH, SHARES, NAMES, seed=3)
    assert found == measure_many_labels(TRUTH, SHARES, NAMES, seed=3)
    assert "confusion" not in found
    assert json.loads(json.dumps(found)) == found


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 1_000_000))
def test_metrics_agree_with_those_of_scikit_learn(images: int, labels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = (random.random((images, labels)) < random.random(labels)).astype("float32")
    # Of few levels, so that there are ties, and some at the threshold.
    shares = (random.integers(0, 9, (images, labels)) / 8).astype("float32")
    names = tuple(map(str, range(labels)))
    found = measure_many_labels(truth, shares, names)
    said = shares >= 0.5
    scores = reference.precision_recall_fscore_support(
        truth, said, average=None, labels=range(labels), zero_division=0.0
    )
    for name, *wanted in zip(names, *scores, strict=True):
        of = found["classes"][name]
        got = [of[key] for key in ("precision", "recall", "f1", "count")]
        assert got == pytest.approx(wanted)
        column = int(name)
        if of["count"]:
            average = reference.average_precision_score(truth[:, column], shares[:, column])
            assert of["average_precision"] == pytest.approx(average)
    assert found["macro_f1"] == pytest.approx(scores[2].mean())
    assert found["hamming_loss"] == pytest.approx(reference.hamming_loss(truth, said))
    exact = reference.accuracy_score(truth, said)
    assert found["accuracy"]["value"] == pytest.approx(exact)
    occurring = truth.any(axis=0)
    if occurring.sum() > 1:  # scikit-learn takes a single column for that of two classes
        mean = reference.average_precision_score(truth[:, occurring], shares[:, occurring])
        assert found["mean_average_precision"] == pytest.approx(mean)


def test_average_precision_is_one_if_all_that_is_there_comes_first() -> None:
    there = np.array([False, True, True, False])
    assert average_precision(there, np.array([0.1, 0.9, 0.8, 0.2], "float32")) == 1.0


def test_average_precision_of_equal_scores_is_the_share_that_is_there() -> None:
    there = np.array([True, False, False, True, False])
    assert average_precision(there, np.full(5, 0.3, "float32")) == pytest.approx(2 / 5)


def test_measuring_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        certain = np.array([[0.0, 1.0], [1.0, 0.0]], "float32")
        found = measure_many_labels(np.array([[1, 0], [1, 0]], "float32"), certain, ("a", "b"))
    assert np.isfinite(found["loss"])
