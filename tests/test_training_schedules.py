"""Schedules, over their whole course, against their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
import pytest

from app.recipe import Stage
from app.training.schedules import (
    build_schedule,
    in_epochs,
    momentum_schedule,
    peak,
    warmup_epochs,
)

PER_EPOCH = 5


def course(schedule: Callable, stage: Stage) -> np.ndarray:
    return np.array([float(schedule(step)) for step in range(stage.epochs * PER_EPOCH + 1)])


def rates(stage: Stage) -> np.ndarray:
    schedule = build_schedule(stage, PER_EPOCH)
    return course((lambda _: schedule) if isinstance(schedule, float) else schedule, stage)


def half_cosine(start: float, end: float, steps: int) -> list[float]:
    return [end + (start - end) * (1 + math.cos(math.pi * n / steps)) / 2 for n in range(steps)]


def test_a_length_is_in_epochs_or_a_share_of_the_stage() -> None:
    assert in_epochs(2.5, 8) == 2.5
    assert in_epochs("25%", 8) == 2.0
    assert in_epochs("12.5%", 4) == 0.5


def test_a_warm_up_takes_half_of_the_stage_at_most() -> None:
    assert warmup_epochs(Stage(epochs=4, warmup_epochs=1.5)) == 1.5
    assert warmup_epochs(Stage(epochs=4, warmup_epochs="25%")) == 1.0
    assert warmup_epochs(Stage(epochs=4, warmup_epochs=3)) == 2.0
    assert warmup_epochs(Stage(epochs=4, warmup_epochs="90%")) == 2.0
    assert warmup_epochs(Stage(epochs=4)) == 0.0


def test_one_cycle_rises_for_three_tenths_of_the_stage_unless_it_is_told() -> None:
    assert warmup_epochs(Stage(epochs=10, schedule="one_cycle")) == pytest.approx(3)
    assert warmup_epochs(Stage(epochs=10, schedule="one_cycle", warmup_epochs=4)) == 4


def test_constant_and_plateau_are_just_a_number() -> None:
    assert build_schedule(Stage(learning_rate=0.02), 7) == 0.02
    assert build_schedule(Stage(learning_rate=0.02, schedule="plateau", warmup_epochs=1), 7) == 0.02
    assert peak(Stage(learning_rate=0.02)) == 0.02


@pytest.mark.parametrize("warmup", [0, 1.6])
@pytest.mark.parametrize(
    ("settings", "formula"),
    [
        ({"schedule": "cosine"}, lambda n, rest: (1 + math.cos(math.pi * n / rest)) / 2),
        ({"schedule": "polynomial"}, lambda n, rest: 1 - n / rest),
        (
            {"schedule": "polynomial", "decay_power": 2.5},
            lambda n, rest: (1 - n / rest) ** 2.5,
        ),
        (
            {"schedule": "step", "decay_epochs": 1.2, "decay_rate": 0.3},
            lambda n, rest: 0.3 ** (n // 6),
        ),
        (
            {"schedule": "exponential", "decay_epochs": "25%", "decay_rate": 0.3},
            lambda n, rest: 0.3 ** (n / 5),
        ),
        ({"schedule": "constant"}, lambda n, rest: 1.0),
    ],
)
def test_a_rate_warms_up_in_a_straight_line_and_then_takes_its_course(
    settings: dict, formula: Callable, warmup: float
) -> None:
    stage = Stage(epochs=4, learning_rate=0.1, warmup_epochs=warmup, **settings)
    rise = round(warmup * PER_EPOCH)
    rest = 20 - rise
    wanted = [0.1 * n / rise for n in range(rise)] + [0.1 * formula(n, rest) for n in range(rest)]
    wanted.append(0.1 * formula(rest, rest))
    np.testing.assert_allclose(rates(stage), wanted, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("warmup", "rise"), [(0, 6), (1, 5), ("75%", 10)])
def test_one_cycle_rises_and_falls_along_cosines(warmup: float | str, rise: int) -> None:
    stage = Stage(epochs=4, learning_rate=0.5, schedule="one_cycle", warmup_epochs=warmup)
    wanted = half_cosine(0.5 / 25, 0.5, rise) + half_cosine(0.5, 0.5 / 1e4, 20 - rise) + [0.5 / 1e4]
    np.testing.assert_allclose(rates(stage), wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov", "adam", "adamw", "nadam", "lion"])
def test_momentum_falls_while_a_one_cycle_rate_rises(optimizer: str) -> None:
    stage = Stage(epochs=4, schedule="one_cycle", optimizer=optimizer)
    schedule = momentum_schedule(stage, PER_EPOCH)
    assert schedule is not None
    wanted = half_cosine(0.95, 0.85, 6) + half_cosine(0.85, 0.95, 14) + [0.95]
    np.testing.assert_allclose(course(schedule, stage), wanted, rtol=1e-6)


def test_momentum_is_left_alone_without_one_cycle_or_without_momentum() -> None:
    assert momentum_schedule(Stage(schedule="cosine"), 5) is None
    assert momentum_schedule(Stage(schedule="one_cycle", optimizer="sgd"), 5) is None
    assert momentum_schedule(Stage(schedule="one_cycle", optimizer="rmsprop"), 5) is None


@pytest.mark.parametrize("schedule", ["step", "exponential", "cosine", "one_cycle"])
def test_the_shortest_stage_has_a_rate(schedule: str) -> None:
    stage = Stage(epochs=1, learning_rate=0.1, schedule=schedule, warmup_epochs=0.5)
    built = [float(build_schedule(stage, 1)(step)) for step in range(3)]
    assert np.isfinite(built).all()
    assert 0 < built[0] <= 0.1 * (1 + 1e-6)


def test_schedules_survive_being_stored() -> None:
    stage = Stage(epochs=4, learning_rate=0.1, schedule="cosine", warmup_epochs=1)
    schedule = build_schedule(stage, PER_EPOCH)
    stored = keras.saving.serialize_keras_object(schedule)
    again = keras.saving.deserialize_keras_object(stored)
    np.testing.assert_array_equal(course(again, stage), course(schedule, stage))
