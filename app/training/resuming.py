"""What a checkpoint holds, and how training is taken up from it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.errors import RunError
from app.training.callbacks import Resumable, bring_back
from app.training.checkpoints import Checkpoint, Checkpoints
from app.training.diverging import StopWhenDiverging

_KINDS = ("model", "optimizer")
# Of the time that training takes, at most this share goes to writing checkpoints within a stage.
BUDGET = 0.1


@dataclass(frozen=True)
class Moment:
    """A moment of a run.

    Attributes:
        stage: Its name.
        learning_rate: Peak of the stage, which may have been found as it began.
        epoch: Epochs of the stage that are finished.
        step: Steps of the next epoch that are finished.
        over: Whether the stage is.
    """

    stage: str
    learning_rate: float | None = None
    epoch: int = 0
    step: int = 0
    over: bool = False

    def describe(self) -> str:
        """Says it in words."""
        step = f", step {self.step} of the next" if self.step else ""
        return f"epoch {self.epoch} of stage {self.stage}{step}"


class Checkpointer(keras.callbacks.Callback):
    """Writes a checkpoint at the end of each epoch, and within it if asked to.

    Of epochs that are quicker than writing, such as those of a small head on features, only
    as many are followed by one as a tenth of the time allows; the last one always is.

    It comes last among the callbacks, so that what it writes is what they left.
    """

    def __init__(
        self,
        whole: keras.Model,
        checkpoints: Checkpoints,
        at: Moment,
        first_epoch: int,
        epochs: int,
        steps: int,
        every: int | None,
        counters: Sequence[Resumable],
        last: int | None = None,
    ) -> None:
        """Prepares for a stage.

        Args:
            whole: Whose variables are kept, whatever part of it is fitted.
            checkpoints: Where they are written.
            at: Where the stage begins, or goes on.
            first_epoch: Of the stage, counted from the start of the run.
            epochs: Of the stage.
            steps: An epoch.
            every: Steps from one checkpoint to the next within an epoch; none if None.
            counters: Callbacks whose counters and arrays are kept.
            last: Epochs of the stage after which it pauses; one is always written then.
        """
        super().__init__()
        self._whole, self._checkpoints, self._at = whole, checkpoints, at
        self._first, self._epochs, self._steps, self._every = first_epoch, epochs, steps, every
        self._counters = counters
        self._last = last
        self._begun = at.step
        self._metrics: list[Any] = []
        self._due = 0.0

    def take_up(self, model: keras.Model, saved: Checkpoint) -> None:
        """Sets everything to where it was when a checkpoint of this stage was written.

        Args:
            model: What is fitted, compiled for the stage.
            saved: The checkpoint.

        Raises:
            RunError: If it is of another model.
        """
        put_back(self._whole, model, saved)
        for counter in self._counters:
            name = type(counter).__name__
            counter.resume(saved.state["callbacks"][name])
            counter.arrays = _of(name, saved)
        self._metrics = _of("metric", saved) if self._at.step else []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Goes on with the running means of an epoch that was begun before a restart."""
        self._at = replace(self._at, epoch=epoch, step=self._begun)
        if self._metrics:
            for variable, value in zip(self.model.metrics_variables, self._metrics, strict=True):
                variable.assign(value)
        self._metrics = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Writes one if it is time."""
        done = self._begun + batch + 1
        step = (self._first + self._at.epoch) * self._steps + done
        if self._every and step % self._every == 0 and done < self._steps:
            self._write(replace(self._at, step=done))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes one."""
        self._begun = 0
        over = self.model.stop_training or epoch + 1 == self._epochs
        if over or epoch + 1 == self._last or time.monotonic() >= self._due:
            self._write(replace(self._at, epoch=epoch + 1, step=0, over=over))

    def _write(self, at: Moment) -> None:
        if any(isinstance(c, StopWhenDiverging) and c.found for c in self._counters):
            return  # what diverged is nothing to go on from
        began = time.monotonic()
        bring_back(self.model)
        counters = {type(each).__name__: each.state() for each in self._counters}
        state = {
            "moment": asdict(at),
            "callbacks": counters,
        }
        arrays = arrays_of(self._whole, self.model)
        for each in self._counters:
            name = type(each).__name__
            arrays |= {f"{name}/{i:05d}": array for i, array in enumerate(each.arrays)}
        if at.step:
            metrics = self.model.metrics_variables
            arrays |= {f"metric/{i:05d}": np.array(v) for i, v in enumerate(metrics)}
        number = (self._first + at.epoch) * self._steps + at.step
        self._checkpoints.write(number, Checkpoint(state, arrays))
        ended = time.monotonic()
        self._due = ended + (ended - began) * (1 / BUDGET - 1)


def arrays_of(whole: keras.Model, fitted: keras.Model) -> dict[str, NDArray[Any]]:
    """Copies every variable of a model, and of the optimizer of what is fitted of it."""
    return {name: np.array(variable) for name, variable in _variables(whole, fitted)}


def put_back(whole: keras.Model, fitted: keras.Model, saved: Checkpoint) -> None:
    """Gives variables the values that they had when `arrays_of` copied them.

    Args:
        whole: The model.
        fitted: What is fitted of it, compiled.
        saved: Holds the arrays.

    Raises:
        RunError: If it is of another model.
    """
    fitted.optimizer.build(fitted.trainable_variables)
    variables = dict(_variables(whole, fitted))
    if set(variables) != {name for name in saved.arrays if name.split("/")[0] in _KINDS}:
        raise RunError(
            "the checkpoint is of other variables than the model has now:"
            " go on where the run was begun, with the same versions"
        )
    for name, variable in variables.items():
        variable.assign(saved.arrays[name])


def _variables(whole: keras.Model, fitted: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    """Names every variable of a model: weights, seeds of dropout, those of the optimizer."""
    metrics = {id(variable) for variable in whole.metrics_variables}
    of_model = [variable for variable in whole.variables if id(variable) not in metrics]
    for kind, variables in zip(_KINDS, (of_model, fitted.optimizer.variables), strict=True):
        for number, variable in enumerate(variables):
            yield f"{kind}/{number:05d}", variable


def _of(kind: str, saved: Checkpoint) -> list[Any]:
    return [array for name, array in sorted(saved.arrays.items()) if name.startswith(f"{kind}/")]
