"""What happens beside the training steps, and survives a restart."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.files import write_whole
from app.recipe import Stage
from app.training.schedules import peak, warmup_epochs

_log = logging.getLogger("graft")
# The validation loss: cross-entropy without label smoothing, the same measure in every stage.
MONITORED = "val_cross_entropy"
_COLUMNS = (
    "stage",
    "epoch",
    "seconds",
    "learning_rate",
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
)


class Resumable(keras.callbacks.Callback):
    """A callback whose counters travel with the checkpoints.

    Keras's own set themselves back whenever training begins.

    Attributes:
        fields: What JSON can hold, by the names of its attributes.
        arrays: What it cannot.
    """

    fields: tuple[str, ...] = ()
    arrays: list[NDArray[Any]]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.arrays = []
        self._resumed: dict[str, Any] = {}

    def state(self) -> dict[str, Any]:
        """Returns what JSON can hold of it."""
        return {name: getattr(self, name) for name in self.fields}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state, now and when training begins."""
        self._resumed = dict(state)
        self._take()

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Lets Keras set the counters back, and sets them again."""
        super().on_train_begin(logs)
        self._take()
        self._resumed = {}

    def _take(self) -> None:
        for name, value in self._resumed.items():
            setattr(self, name, value)


def inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns the optimizer itself: mixed precision wraps it in another that scales losses."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def bring_back(model: keras.Model) -> None:
    """Has variables hold what they are by now: under JAX they do at the end of an epoch only."""
    if keras.config.backend() == "jax":
        model.jax_state_sync()


class Progress(keras.callbacks.Callback):
    """Shows stage, epoch, losses and the time left, on standard error.

    On a terminal a bar moves with every batch; elsewhere each epoch is a line.
    """

    def __init__(self, stage: str, epochs: int, steps: int) -> None:
        super().__init__()
        self._stage, self._epochs, self._steps = stage, epochs, steps
        self._bar: Any = None
        self._seen = 0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Opens the bar, which counts the batches of the whole stage."""
        self._bar = tqdm(
            total=self._epochs * self._steps,
            desc=self._stage,
            unit=" batches",
            disable=None,
            leave=False,
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Counts the batches of the epoch."""
        self._seen = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Moves the bar, by several batches if they were run at once."""
        self._bar.update(batch + 1 - self._seen)
        self._seen = batch + 1

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Says what the epoch came to."""
        logs = logs or {}
        with tqdm.external_write_mode():
            _log.info(
                "%s %d/%d  loss %.3f  accuracy %.3f  validation loss %.3f  accuracy %.3f",
                self._stage,
                epoch + 1,
                self._epochs,
                *(logs[name] for name in ("loss", "accuracy", MONITORED, "val_accuracy")),
            )

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the bar."""
        self._bar.close()


class History(Resumable):
    """Writes a row an epoch to `history.csv`, whole each time."""

    fields = ("rows",)

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.stage = ""
        self.rows: list[dict[str, Any]] = []
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the clock."""
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Adds the row."""
        logs = logs or {}
        row = {
            "stage": self.stage,
            "epoch": epoch + 1,
            "seconds": round(time.monotonic() - self._started, 3),
            # At the last step of the epoch, whatever the schedule.
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "loss": logs["loss"],
            "accuracy": logs["accuracy"],
            "validation_loss": logs[MONITORED],
            "validation_accuracy": logs["val_accuracy"],
        }
        self.rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_whole(self._path, text.getvalue())


class KeepBest(Resumable):
    """Keeps the weights with the lowest validation loss, over all stages of a run.

    A stage that keeps its last weights replaces what was best before.

    Unlike with Keras's `ModelCheckpoint` they travel with the checkpoints, and a stage that
    brings nothing does not replace what the stages before it reached.

    Attributes:
        arrays: The weights, in the order of the model; none at first.
    """

    fields = ("best_loss", "best_stage", "best_epoch")

    def __init__(self, whole: keras.Model) -> None:
        """Prepares for a run.

        Args:
            whole: Whose weights are kept, whatever part of it is fitted.
        """
        super().__init__()
        self._whole = whole
        self.stage, self.keeps = "", "best"
        self.best_loss = math.inf
        self.best_stage = ""
        self.best_epoch = 0
        self.arrays: list[NDArray[Any]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Takes the weights, if they are the best so far."""
        loss = float((logs or {})[MONITORED])
        # A loss that is no number is never the best, nor is a stage that is being broken off.
        better = loss < self.best_loss or (self.keeps == "last" and math.isfinite(loss))
        if not better or self.model.stop_training:
            return
        fitted = {id(weight) for weight in self.model.weights}
        weights = self._whole.weights
        # What is not fitted has not changed since the best weights were last put in place.
        self.arrays = [
            np.array(weight) if not self.arrays or id(weight) in fitted else self.arrays[number]
            for number, weight in enumerate(weights)
        ]
        self.best_loss, self.best_stage, self.best_epoch = loss, self.stage, epoch + 1

    def restore(self) -> None:
        """Gives the model its best weights."""
        for weight, value in zip(self._whole.weights, self.arrays, strict=True):
            weight.assign(value)


class EarlyStopping(Resumable, keras.callbacks.EarlyStopping):
    """Keras's, with counters that survive a restart."""

    fields = ("wait", "best", "best_epoch", "stopped_epoch")

    def __init__(self, patience: int) -> None:
        super().__init__(monitor=MONITORED, patience=patience, mode="min")


class Plateau(Resumable, keras.callbacks.ReduceLROnPlateau):
    """Keras's, with counters that survive a restart, and with a warm-up before it."""

    fields = ("wait", "best", "cooldown_counter")

    def __init__(self, stage: Stage, steps: int) -> None:
        super().__init__(
            monitor=MONITORED,
            mode="min",
            factor=stage.decay_rate,
            patience=stage.plateau_patience,
            min_delta=0.0,
        )
        self._peak, self._steps = peak(stage), steps
        self._warmup = round(warmup_epochs(stage) * steps)

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Raises the rate in a straight line until the warm-up is over."""
        if not self._warmup:
            return
        bring_back(self.model)
        # Batches, as schedules count them, also where several make an update; counted by the
        # optimizer, so that a run that starts again goes on where it was.
        step = int(inner(self.model.optimizer)._iterations)
        if step <= self._warmup:
            self.model.optimizer.learning_rate = self._peak * step / self._warmup

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Lowers the rate if the validation loss has not improved for long enough."""
        if (epoch + 1) * self._steps > self._warmup:
            super().on_epoch_end(epoch, logs)
