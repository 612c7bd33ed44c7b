"""Temperatures and calibration errors, on probabilities whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exports.calibration import calibration_error, cooled, fit_temperature


def drawn(logits: np.ndarray, seed: int = 0) -> np.ndarray:
    """Labels that are as likely as the logits say."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    chance = np.random.default_rng(seed).uniform(size=(len(logits), 1))
    return (shares.cumsum(axis=1) < chance).sum(axis=1).clip(max=logits.shape[1] - 1)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype("float32")


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_logits_were_multiplied_by(factor: float) -> None:
    logits = np.random.default_rng(1).normal(0, 2, (20_000, 4))
    labels = drawn(logits)
    found = fit_temperature((factor * logits).astype("float32"), labels)
    assert found == pytest.approx(factor, rel=0.05)


def test_two_classes_share_a_logit_and_many_labels_have_one_each() -> None:
    random = np.random.default_rng(2)
    logits = random.normal(0, 2, (20_000, 1))
    truth = random.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits))
    doubled = (2 * logits).astype("float32")
    assert fit_temperature(doubled, truth[:, 0].astype(int)) == pytest.approx(2, rel=0.05)
    both = np.hstack([doubled, doubled])
    assert fit_temperature(both, np.hstack([truth, truth])) == pytest.approx(2, rel=0.05)


def test_logits_without_a_mistake_are_made_no_surer() -> None:
    logits = np.array([[3.0, 0.0], [0.0, 3.0]] * 15, "float32")
    assert fit_temperature(logits, np.array([0, 1] * 15)) == 1
    assert fit_temperature(logits[:, :1] - 1.5, np.array([1, 0] * 15)) == 1
    assert fit_temperature(logits, np.array([0, 1] * 14 + [0, 0])) != 1


@given(st.floats(0.1, 10), st.integers(0, 1000))
def test_probabilities_are_cooled_as_their_logits_would_be(temperature: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (5, 3))
    wanted = softmax(logits / temperature)
    np.testing.assert_allclose(cooled(softmax(logits), temperature), wanted, atol=2e-5)
    one = 1 / (1 + np.exp(-logits))
    many = cooled(one.astype("float32"), temperature, many_labels=True)
    np.testing.assert_allclose(many, 1 / (1 + np.exp(-logits / temperature)), atol=2e-5)


def test_the_error_is_the_distance_of_confidence_and_accuracy() -> None:
    shares = np.array([[0.9, 0.1]] * 10, "float32")
    right = np.zeros(10, int)
    assert calibration_error(shares, right) == pytest.approx(0.1, abs=1e-6)
    assert calibration_error(shares, np.array([0] * 9 + [1])) == pytest.approx(0, abs=1e-6)
    many = np.array([[0.9, 0.2]], "float32")  # sure by 0.9 and by 0.8
    assert calibration_error(many, np.array([[1, 0]])) == pytest.approx(0.15, abs=1e-6)


def test_what_is_calibrated_has_a_small_error() -> None:
    logits = np.random.default_rng(3).normal(0, 2, (20_000, 4))
    labels = drawn(logits)
    assert calibration_error(softmax(logits), labels) < 0.02
    assert calibration_error(softmax(3 * logits), labels) > 0.1
