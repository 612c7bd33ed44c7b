"""What may end a trial before its time."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras

from app.training.stages import Trainer

# Whether a trial should stop, told the validation accuracy after each epoch so far.
Watching = Callable[[tuple[float, ...]], bool]


class OutOfTimeError(Exception):
    """The time of the search is over; the trial goes on from its checkpoint another time."""


class HopelessError(Exception):
    """Others did better at the same epoch."""

    def __init__(self, curve: tuple[float, ...], best: tuple[float, float]) -> None:
        super().__init__()
        self.curve, self.best = curve, best


class InTime(keras.callbacks.Callback):
    """Leaves a trial where it is when the time of the search is over.

    Attributes:
        until: When that is, by `time.monotonic()`.
    """

    def __init__(self, until: float) -> None:
        super().__init__()
        self.until = until

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the clock."""
        if time.monotonic() >= self.until:
            raise OutOfTimeError


class Watch(keras.callbacks.Callback):
    """Asks after each epoch whether the trial should stop."""

    def __init__(self, watching: Watching) -> None:
        super().__init__()
        self._watching = watching
        self.trainer: Trainer | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Comes after what keeps the history, and before what writes a checkpoint."""
        assert self.trainer is not None
        curve = curve_of(self.trainer)
        if self._watching(curve):
            best = max(self.trainer.history.rows, key=lambda row: row["validation_accuracy"])
            raise HopelessError(curve, (best["validation_accuracy"], best["validation_loss"]))


def curve_of(trainer: Trainer) -> tuple[float, ...]:
    """Returns the validation accuracy after each epoch so far."""
    return tuple(row["validation_accuracy"] for row in trainer.history.rows)
