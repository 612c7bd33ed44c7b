"""Heads that learned random labels answer by chance, unless something is wrong."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from app.backbones.blocks import around_backbone
from app.recipe import Head, Stage
from app.training.losses import Task, build_loss, build_metrics
from app.training.parts import renewed
from app.training.random_labels import DRAWS, STUDENT, _accuracy, check_random_labels
from tests.small_nets import small_net

TASK = Task((20, 20), 40)
LOSS = build_loss(Stage(), TASK)


def head(**options: Any) -> keras.Model:
    model = small_net(Head(dropout=0.5), classes=2, **options)
    return keras.Model(around_backbone(model)[2], model.output)


def well_apart(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws features of two classes, three of four images of the first, that anyone can tell."""
    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.25).astype("int64")
    features = random.normal(0, 0.3, (count, 6)) + 3 * (2 * labels[:, None] - 1)
    return features.astype("float32"), labels


def draws(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [(well_apart(40, seed)[0], random.integers(0, 2, 40)) for _ in range(DRAWS)]


def check(given: Any, of: keras.Model | None = None) -> Any:
    return check_random_labels(
        of or head(), LOSS, build_metrics(TASK)[0], given, well_apart(30, 99), 0.5
    )


def test_heads_that_learn_random_labels_are_at_chance() -> None:
    found = check(draws(0))
    assert found.passed
    # Half of the heads name all images of a class wrongly, and such heads are not by chance
    # within the interval of 30 independent guesses: 0.5 +- 0.23.
    accuracies = [float(each) for each in found.details[0].split(": ")[1].split(", ")]
    assert len(accuracies) == DRAWS
    assert min(accuracies) < 0.27 or max(accuracies) > 0.73
    assert found.number == pytest.approx(np.mean(accuracies), abs=0.005)


def test_true_labels_that_reach_the_head_are_noticed() -> None:
    found = check([well_apart(40, seed) for seed in range(DRAWS)])
    assert not found.passed
    assert found.number > 0.95


def test_what_a_head_knew_before_is_forgotten() -> None:
    model = head()
    model.get_layer("logits").kernel.assign(np.ones((6, 1)))
    model.get_layer("logits").bias.assign([0.5])
    before = model.get_weights()
    assert check(draws(0), model).number == check(draws(0)).number
    np.testing.assert_equal(model.get_weights(), before)


def test_each_head_starts_anew() -> None:
    trained, fresh = renewed(head(), 0), renewed(head(), 1)
    trained.compile(keras.optimizers.Adam(0.01), LOSS, metrics=build_metrics(TASK)[:1])
    trained.optimizer.build(trained.trainable_variables)
    reached = []
    for _ in range(2):
        _accuracy(trained, fresh, draws(0)[0], well_apart(30, 99))
        reached.append([weight.tolist() for weight in trained.get_weights()])
    assert reached[0] == reached[1] != [weight.tolist() for weight in fresh.get_weights()]


def test_a_metric_that_flatters_is_noticed() -> None:
    flattering = keras.metrics.MeanMetricWrapper(
        lambda labels, logits: keras.ops.ones_like(logits[:, 0]), "accuracy"
    )
    found = check_random_labels(head(), LOSS, flattering, draws(0), well_apart(30, 99), 0.5)
    assert not found.passed


def test_few_images_are_said_to_make_a_weak_test() -> None:
    few = tuple(each[:4] for each in well_apart(30, 99))
    found = check_random_labels(head(), LOSS, build_metrics(TASK)[0], draws(0), few, 0.5)
    assert "a weak test" in found.said


def test_the_interval_is_students() -> None:
    from scipy.stats import t

    assert pytest.approx(t.ppf(0.99, DRAWS - 1), abs=1e-3) == STUDENT
