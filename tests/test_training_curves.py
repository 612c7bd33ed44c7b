"""Shapes of curves: each found where it is, and not found where it is not."""

from __future__ import annotations

import math

import pytest

from app.training.curves import Epoch, creeps, read_epochs, still_falls, swings, turning_point


def test_numbers_are_read_from_text_and_what_is_none_is_known_as_none() -> None:
    row = {"stage": "warm_up", "epoch": "3", "loss": "0.5", "accuracy": 0.75}
    first, second = read_epochs(
        [
            {**row, "validation_loss": "1e-1", "validation_accuracy": "1", "more": "ignored"},
            {**row, "validation_loss": "", "validation_accuracy": None},
        ]
    )
    assert first == Epoch("warm_up", "3", 0.5, 0.75, 0.1, 1.0)
    assert first.is_whole
    assert first.gap == pytest.approx(-0.25)
    assert not second.is_whole
    assert math.isnan(second.validation_loss)


@pytest.mark.parametrize(
    "losses",
    [
        [1.0, 1.3, 0.9, 1.2],
        [1.0, 0.8, 0.9, 1.6],
        [0.5, 0.7],
        [2.0, 1.0, 1.5, 0.6, 0.8],
        [1.0, 1.3, 0.9, 0.8],
    ],
)
def test_rises_are_swings(losses: list[float]) -> None:
    assert swings(losses)


@pytest.mark.parametrize(
    "losses",
    [
        [1.0],
        [1.0, 0.5, 0.3, 0.2],
        [1.0, 0.5, 0.52, 0.4, 0.41, 0.3],  # rises of less than a tenth
        [1.0, 0.02, 0.05, 0.02, 0.04],  # a mistake or two
    ],
)
def test_a_course_downwards_is_no_swing(losses: list[float]) -> None:
    assert not swings(losses)


def test_one_rise_among_many_steps_is_no_swing() -> None:
    assert not swings([1.0, 0.8, 0.95, 0.6, 0.5])
    assert swings([1.0, 0.8, 0.95, 0.6, 0.8])


def test_a_slow_straight_line_creeps() -> None:
    assert creeps([2.30, 2.28, 2.26, 2.24])
    assert creeps([2.30, 2.27, 2.25, 2.22, 2.20])
    assert creeps([2.0, 1.85, 1.70, 1.55])  # a quarter at most of where it began


@pytest.mark.parametrize(
    "losses",
    [
        [2.30, 2.28, 2.26],  # too short
        [2.30, 2.10, 2.05, 2.04],  # bends
        [2.30, 2.16, 2.10, 2.05, 2.01],
        [2.30, 2.29, 2.26, 2.15],  # takes off
        [2.30, 1.80, 1.30, 0.80],  # straight, but fast
        [2.30, 2.28, 2.29, 2.24],  # not at every step
        [2.300, 2.299, 2.298, 2.297],  # does not move
    ],
)
def test_other_courses_do_not_creep(losses: list[float]) -> None:
    assert not creeps(losses)


def course(losses: list[float], validation: list[float]) -> list[Epoch]:
    pairs = enumerate(zip(losses, validation, strict=True))
    return [Epoch("s", str(number), loss, 0.5, worse, 0.5) for number, (loss, worse) in pairs]


def test_the_turning_point_is_where_validation_was_best() -> None:
    found = turning_point(course([1.0, 0.7, 0.4, 0.2], [0.9, 0.8, 0.9, 1.0]))
    assert found is not None
    assert found.number == "1"
    assert turning_point(course([1.0, 0.7, 0.4, 0.2], [0.81, 0.80, 0.89, 0.89]))


@pytest.mark.parametrize(
    ("losses", "validation"),
    [
        ([1.0, 0.7, 0.4, 0.2], [0.9, 0.8, 0.7, 0.69]),  # falls on
        ([1.0, 0.7, 0.8, 0.9], [0.9, 0.8, 0.9, 1.0]),  # training gets worse too
        ([1.0, 0.7, 0.4, 0.2], [0.9, 0.8, 0.81, 0.82]),  # hardly rises
        ([1.0, 0.7, 0.4, 0.2], [0.9, 0.8, 0.80, 0.90]),  # the last epoch alone
        ([1.0, 0.7, 0.4, 0.2, 0.1], [0.9, 0.8, 1.2, 1.2, 0.81]),  # comes back
        ([1.0, 0.7], [0.8, 0.9]),  # too short
        ([0.02, 0.01, 0.005], [0.01, 0.014, 0.015]),  # changes no answer
    ],
)
def test_without_a_lasting_rise_there_is_no_turning_point(
    losses: list[float], validation: list[float]
) -> None:
    assert turning_point(course(losses, validation)) is None


@pytest.mark.parametrize("losses", [[1.0, 0.9, 0.8], [2, 1.5, 1.2, 1.1, 1.0, 0.9, 0.8, 0.72, 0.6]])
def test_a_last_third_that_falls_is_seen(losses: list[float]) -> None:
    assert still_falls(losses)


@pytest.mark.parametrize(
    "losses",
    [
        [1.0, 0.5],  # too short
        [2.0, 1.0, 0.5, 0.41, 0.40, 0.40],  # flat by now
        [1.0, 0.8, 0.9, 0.7, 0.9, 0.75],  # within its scatter
        [*[1.0] * 8, 1.0, 0.9, 1.1, 0.8],
        [0.5, 0.03, 0.02, 0.01],  # changes no answer
        [0.5, 0.6, 0.7, 0.8],
        [0.44, 0.56, 0.52, 0.48],  # back from a bump, to no new low
    ],
)
def test_a_last_third_that_is_flat_noisy_or_rising_does_not_fall(losses: list[float]) -> None:
    assert not still_falls(losses)
