"""Courses of the learning rate and of the momentum over a stage, put together from Keras's own."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.optimizers import schedules

from app.recipe import Stage

# A one-cycle rate begins at a 25th of its peak and ends at a 10,000th of it. arXiv 1803.09820
# leaves such numbers open; these are PyTorch's, save that its end is a 10,000th of the start.
_CYCLE_START, _CYCLE_END = 1 / 25, 1e-4
_HIGH_MOMENTUM, _LOW_MOMENTUM = 0.95, 0.85
_CYCLE_RISE = 0.3  # of the stage, if the recipe does not say


@keras.saving.register_keras_serializable("graft")
class InTurn(schedules.LearningRateSchedule):  # type: ignore[misc]  # Keras has no types
    """One schedule for some steps, and then another, which counts its steps from there."""

    def __init__(
        self,
        first: schedules.LearningRateSchedule,
        steps: int,
        second: schedules.LearningRateSchedule,
    ) -> None:
        self.first, self.steps, self.second = first, steps, second

    def __call__(self, step: Any) -> Any:
        """Returns the value at a step, a scalar."""
        step = ops.convert_to_tensor(step)
        later = self.second(ops.maximum(step - self.steps, 0))
        return ops.where(step < self.steps, self.first(step), later)

    def get_config(self) -> dict[str, Any]:
        """Returns what Keras stores."""
        return {
            "first": schedules.serialize(self.first),
            "steps": self.steps,
            "second": schedules.serialize(self.second),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InTurn:
        """Makes one from what `get_config` returned."""
        first, second = (schedules.deserialize(config[name]) for name in ("first", "second"))
        return cls(first, config["steps"], second)


def in_epochs(length: float | str, epochs: int) -> float:
    """Returns a length in epochs; text such as `25%` is a share of the stage's epochs."""
    if isinstance(length, str):
        return float(length.removesuffix("%")) / 100 * epochs
    return float(length)


def warmup_epochs(stage: Stage) -> float:
    """Returns how long the rate rises: as asked for, but half of the stage at most."""
    asked = in_epochs(stage.warmup_epochs, stage.epochs)
    if stage.schedule == "one_cycle" and not asked:
        asked = _CYCLE_RISE * stage.epochs
    return min(asked, stage.epochs / 2)


def peak(stage: Stage) -> float:
    """Returns the largest learning rate, once `auto` has been replaced by a number."""
    return float(stage.learning_rate)


def build_schedule(stage: Stage, steps_per_epoch: int) -> float | schedules.LearningRateSchedule:
    """Turns a stage's schedule, in epochs, into Keras's, in batches.

    The warm-up rises in a straight line from 0 to the peak, and the schedule takes what is
    left. Cosine (arXiv 1608.03983) and polynomial (arXiv 1506.04579) fall to 0 at the end of
    the last epoch.

    Returns:
        A number where a callback is to set the rate (plateau) or nothing is (constant
        without a warm-up).
    """
    if stage.schedule == "plateau":
        return peak(stage)
    if stage.schedule == "one_cycle":
        return _one_cycle(stage, steps_per_epoch)
    steps = round(warmup_epochs(stage) * steps_per_epoch)
    # It stays at its end: alone it is a constant rate after a warm-up.
    warmup = schedules.PolynomialDecay(0.0, max(steps, 1), end_learning_rate=peak(stage))
    if stage.schedule == "constant":
        return warmup if steps else peak(stage)
    falling = _falling(stage, steps_per_epoch, max(stage.epochs * steps_per_epoch - steps, 1))
    return InTurn(warmup, steps, falling) if steps else falling


def momentum_schedule(stage: Stage, steps_per_epoch: int) -> InTurn | None:
    """Returns the course of the momentum in a one-cycle stage, in batches.

    It mirrors the learning rate: 0.95 to 0.85 as that rises, and back (arXiv 1803.09820).

    Returns:
        None if the momentum stays as it is, or the optimizer has none.
    """
    if stage.schedule != "one_cycle" or stage.optimizer in ("sgd", "rmsprop"):
        return None
    rise, fall = _cycle_steps(stage, steps_per_epoch)
    return InTurn(
        _cosine(_HIGH_MOMENTUM, _LOW_MOMENTUM, rise),
        rise,
        _cosine(_LOW_MOMENTUM, _HIGH_MOMENTUM, fall),
    )


def _falling(stage: Stage, steps_per_epoch: int, steps: int) -> schedules.LearningRateSchedule:
    if stage.schedule == "cosine":
        return schedules.CosineDecay(peak(stage), steps)
    if stage.schedule == "polynomial":
        power = stage.decay_power
        return schedules.PolynomialDecay(peak(stage), steps, end_learning_rate=0.0, power=power)
    every = round(in_epochs(stage.decay_epochs, stage.epochs) * steps_per_epoch)
    return schedules.ExponentialDecay(
        peak(stage), max(every, 1), stage.decay_rate, staircase=stage.schedule == "step"
    )


def _one_cycle(stage: Stage, steps_per_epoch: int) -> InTurn:
    rise, fall = _cycle_steps(stage, steps_per_epoch)
    top = peak(stage)
    return InTurn(
        _cosine(top * _CYCLE_START, top, rise), rise, _cosine(top, top * _CYCLE_END, fall)
    )


def _cycle_steps(stage: Stage, steps_per_epoch: int) -> tuple[int, int]:
    rise = max(round(warmup_epochs(stage) * steps_per_epoch), 1)
    return rise, max(stage.epochs * steps_per_epoch - rise, 1)


def _cosine(start: float, end: float, steps: int) -> schedules.CosineDecay:
    """Goes along half a cosine; Keras's decay rises where its end is above its start."""
    return schedules.CosineDecay(start, steps, alpha=end / start)
