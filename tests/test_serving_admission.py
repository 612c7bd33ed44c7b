"""The gate: what may wait, and what is refused at once."""

from __future__ import annotations

import pytest

from app.serving.admission import Gate
from app.serving.errors import BusyError, TooLargeError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def busy_gate(clock: Clock, seconds: float = 0.1, rows: int = 300) -> Gate:
    """Returns a gate that has seen many rows answered, one every so many seconds."""
    gate = Gate(100, 1000, clock)
    for _ in range(rows):
        with gate.inside(1, clock() + 60):
            clock.now += seconds
    return gate


def test_rows_are_counted_while_they_are_inside(clock: Clock) -> None:
    gate = Gate(10, 1000, clock)
    with gate.inside(3, clock() + 1), gate.inside(4, clock() + 1):
        assert gate.rows == 7
    assert gate.rows == 0


def test_rows_are_counted_out_when_a_request_fails(clock: Clock) -> None:
    gate = Gate(10, 1000, clock)
    with pytest.raises(ZeroDivisionError), gate.inside(3, clock() + 1):
        raise ZeroDivisionError
    assert gate.rows == 0


def test_what_would_be_too_many_rows_is_refused(clock: Clock) -> None:
    gate = Gate(10, 1000, clock)
    with (
        gate.inside(8, clock() + 1),
        pytest.raises(BusyError, match="8 images wait already"),
        gate.inside(3, clock() + 1),
    ):
        pytest.fail("let in")


def test_a_request_that_could_never_be_let_in_is_told_so(clock: Clock) -> None:
    with pytest.raises(TooLargeError, match="11 rows"), Gate(10, 1, clock).inside(11, 1e9):
        pytest.fail("let in")


def test_the_gate_learns_what_a_row_costs(clock: Clock) -> None:
    assert busy_gate(clock, 0.1).row_seconds == pytest.approx(0.1, rel=0.01)


def test_a_batch_costs_each_of_its_rows_a_share(clock: Clock) -> None:
    gate = Gate(100, 1000, clock)
    for _ in range(40):
        with gate.inside(16, clock() + 60):
            clock.now += 0.8
    assert gate.row_seconds == pytest.approx(0.05, rel=0.01)


def test_idle_time_is_no_cost(clock: Clock) -> None:
    gate = busy_gate(clock, 0.1)
    clock.now += 1000
    with gate.inside(1, clock() + 60):
        clock.now += 0.1
    assert gate.row_seconds == pytest.approx(0.1, rel=0.01)


def test_who_would_wait_too_long_is_refused_at_once(clock: Clock) -> None:
    gate = busy_gate(clock, 0.1)
    with gate.inside(20, clock() + 60):
        assert gate.wait == pytest.approx(2, rel=0.01)
        with gate.inside(1, clock() + 5):
            pass
        with (
            pytest.raises(BusyError, match=r"would take 2\.\d seconds"),
            gate.inside(1, clock() + 3),
        ):
            pytest.fail("let in")


def test_who_finds_nobody_is_let_in_however_slow_the_last_answer_was(clock: Clock) -> None:
    gate = busy_gate(clock, 100)
    with gate.inside(1, clock() + 1):
        clock.now += 0.01
    assert gate.row_seconds < 100


def test_requests_that_fail_say_nothing_of_the_cost(clock: Clock) -> None:
    gate = busy_gate(clock, 0.1)
    for _ in range(100):
        with pytest.raises(KeyError), gate.inside(1, clock() + 60):
            raise KeyError
    assert gate.row_seconds == pytest.approx(0.1, rel=0.01)


def test_bytes_are_bounded_over_all_requests(clock: Clock) -> None:
    gate = Gate(10, 1000, clock)
    gate.hold(900)
    with pytest.raises(BusyError, match="bodies"):
        gate.hold(101)
    assert gate.held == 900
    gate.release(900)
    gate.hold(1000)
