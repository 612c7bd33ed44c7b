"""Losses that run away or are no number any more, and the layer that is named."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from app.recipe import Stage
from app.training.diverging import FACTOR, STEPS, StopWhenDiverging
from app.training.optimizers import build_optimizer


def fit(stage: Stage, spoil: float | None = None, epochs: int = 3) -> StopWhenDiverging:
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    inputs, targets = random.normal(size=(160, 4)), random.normal(size=(160, 1))
    if spoil is not None:
        targets[20] = spoil
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, name="first"),
            keras.layers.Dense(1, name="last"),
        ]
    )
    model.compile(optimizer=build_optimizer(stage, 40), loss="mse")
    watch = StopWhenDiverging()
    model.fit(
        inputs, targets, batch_size=4, epochs=epochs, callbacks=[watch], verbose=0, shuffle=False
    )
    return watch


def test_a_training_that_goes_well_is_left_alone() -> None:
    assert not fit(Stage(learning_rate=1e-2)).found


def test_a_loss_that_runs_away_is_stopped_and_the_largest_gradient_named() -> None:
    watch = fit(Stage(learning_rate=1.0, optimizer="sgd"))
    assert "its loss" in watch.found
    assert "the largest gradient was" in watch.found
    assert "first/kernel" in watch.found or "last/kernel" in watch.found


def test_a_loss_that_is_no_number_is_stopped_in_its_step() -> None:
    watch = fit(Stage(learning_rate=1e-3), spoil=np.nan)
    assert watch.found.startswith("its loss became no number")
    assert "every gradient broke in one step" in watch.found
    # Batch 5 of 40 holds the spoilt target.
    assert watch.state()["_count"] == 6


def losses(values: list[float]) -> StopWhenDiverging:
    """Feeds losses of single batches, as running means, to one whose model is real."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=build_optimizer(Stage(), 10), loss="mse")
    model.optimizer.build(model.trainable_variables)
    watch = StopWhenDiverging()
    watch.set_model(model)
    watch.on_epoch_begin(0)
    for step in range(len(values)):
        if not watch.found:
            watch.on_train_batch_end(step, {"loss": float(np.mean(values[: step + 1]))})
    return watch


def test_the_loss_of_several_steps_at_once_is_their_mean() -> None:
    watch = losses([])
    watch.on_train_batch_end(3, {"loss": 2.0})
    watch.on_train_batch_end(7, {"loss": 3.0})
    watch.on_train_batch_end(9, {"loss": 3.6})
    assert watch.state()["_recent"] == pytest.approx([2.0, 4.0, 6.0])
    watch.on_epoch_begin(1)
    watch.on_train_batch_end(9, {"loss": 1.5})
    assert watch.state()["_recent"][-1] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("values", "stopped"),
    [
        ([1.0] * STEPS + [FACTOR + 1] * STEPS, True),
        ([1.0] * STEPS + [FACTOR + 1] * (STEPS - 1), False),
        ([1.0] * STEPS + [FACTOR - 1] * 3 * STEPS, False),
        ([1.0] * STEPS + ([FACTOR * 5] * (STEPS - 1) + [1.0]) * 3, False),  # it comes back
        ([0.7, 0.5, 0.3, 0.2] * 10, False),
        ([1e-4] * STEPS + [0.5] * STEPS, False),  # it began by knowing much
        ([2.0] * STEPS + [2 * FACTOR + 1] * STEPS, True),
    ],
)
def test_only_a_loss_that_stays_high_is_a_loss_that_diverged(
    values: list[float], stopped: bool
) -> None:
    assert bool(losses(values).found) == stopped
