"""Averaged weights: what they are, and that the trained ones come back untouched."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from app.recipe import Stage
from app.training.averaging import Average
from app.training.callbacks import MONITORED
from app.training.optimizers import build_optimizer


class Recorder(keras.callbacks.Callback):
    """Notes the weights while they are measured, and when the epoch is over."""

    def __init__(self) -> None:
        super().__init__()
        self.measured: list[list[np.ndarray]] = []
        self.trained: list[list[np.ndarray]] = []
        self.steps: list[list[np.ndarray]] = []

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.steps.append(self.model.get_weights())

    def on_test_batch_end(self, batch: int, logs: object = None) -> None:
        self.measured.append(self.model.get_weights())

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.trained.append(self.model.get_weights())


def fit(stage: Stage) -> Recorder:
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    pixels, labels = random.normal(size=(12, 4)), random.normal(size=(12, 2))
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()]
    )
    model.add(keras.layers.Dense(2))
    model.compile(optimizer=build_optimizer(stage, 3), loss="mse")
    recorder = Recorder()
    model.fit(
        pixels,
        labels,
        batch_size=4,
        epochs=stage.epochs,
        validation_data=(pixels, labels),
        validation_batch_size=12,
        callbacks=[Average(stage), recorder],
        shuffle=False,
        verbose=0,
    )
    return recorder


def assert_equal(found: list[np.ndarray], wanted: list[np.ndarray], rtol: float = 0.0) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("start", [3.0, "60%"])
def test_swa_is_the_mean_of_the_weights_at_the_ends_of_epochs(start: float | str) -> None:
    stage = Stage(epochs=5, learning_rate=0.1, weight_average="swa", swa_start=start)
    found = fit(stage)
    ends = found.steps[2::3]
    for epoch in (0, 1):  # before it begins the trained weights are measured
        assert_equal(found.measured[epoch], ends[epoch])
    for epoch in (2, 3, 4):
        mean = [np.mean(values, 0) for values in zip(*ends[2 : epoch + 1], strict=True)]
        assert_equal(found.measured[epoch], mean, rtol=1e-6)
    assert np.abs(found.measured[4][0] - ends[4][0]).max() > 1e-3


def test_ema_is_the_moving_average_over_steps() -> None:
    stage = Stage(epochs=3, learning_rate=0.1, weight_average="ema", ema_momentum=0.8)
    found = fit(stage)
    average = found.steps[0][0]  # the first kernel
    for step, weights in enumerate(found.steps[1:], 1):
        average = 0.8 * average + 0.2 * weights[0]
        if step % 3 == 2:
            np.testing.assert_allclose(found.measured[step // 3][0], average, rtol=1e-5, atol=1e-6)
    assert np.abs(found.measured[2][0] - found.steps[-1][0]).max() > 1e-3


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_the_trained_weights_come_back_bit_by_bit(kind: str) -> None:
    found = fit(Stage(epochs=4, learning_rate=0.1, weight_average=kind, swa_start=1.0))
    for trained, end in zip(found.trained, found.steps[2::3], strict=True):
        assert_equal(trained, end)


def test_without_averaging_the_trained_weights_are_measured() -> None:
    found = fit(Stage(epochs=2, learning_rate=0.1))
    for measured, end in zip(found.measured, found.steps[2::3], strict=True):
        assert_equal(measured, end)


def test_what_is_watched_is_the_validation_loss() -> None:
    assert MONITORED == "val_cross_entropy"
