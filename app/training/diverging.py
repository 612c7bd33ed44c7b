"""Stopping at once when a loss is no number any more, or runs away; and saying why."""

from __future__ import annotations

import math

import keras
import numpy as np

from app.training.callbacks import Resumable, bring_back, inner

# A loss that stays this many times above where the stage began does not come back by itself.
FACTOR = 10.0
# For so many steps on end: a single batch may be odd.
STEPS = 10
# What a network that knows nothing loses, or more; one that knows much may begin near 0.
LEAST = 1.0


class StopWhenDiverging(Resumable):
    """Stops a stage in the step in which its loss diverges, and finds the layer.

    Attributes:
        found: What was found, in words; empty while all is well.
        within_epoch: Whether the next epoch is one that was begun before a restart.
    """

    fields = ("_first", "_recent", "_mean", "_count")

    def __init__(self) -> None:
        super().__init__()
        self.found = ""
        self._first: list[float] = []
        self._recent: list[float] = []
        self._mean, self._count = 0.0, 0
        self._batch = -1
        self.within_epoch = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras's running mean begins anew with each epoch, unless one is gone on with."""
        if not self.within_epoch:
            self._mean, self._count = 0.0, 0
        self._batch = -1
        self.within_epoch = False

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the loss of the batches since the last look, by what the running mean became."""
        mean = float((logs or {}).get("loss", 0.0))
        steps, self._batch = batch - self._batch, batch
        loss = (mean * (self._count + steps) - self._mean * self._count) / steps
        self._mean, self._count = mean, self._count + steps
        if not math.isfinite(mean):
            self._stop(f"its loss became no number; {_culprit(self.model)}")
            return
        self._first = [*self._first, loss][:STEPS]
        self._recent = [*self._recent, loss][-STEPS:]
        begin, lowest = sum(self._first) / len(self._first), min(self._recent)
        if len(self._recent) == STEPS and lowest > FACTOR * max(begin, LEAST):
            self._stop(
                f"its loss rose from {begin:.3g} to over {lowest:.3g}; {_culprit(self.model)}"
            )

    def _stop(self, found: str) -> None:
        self.found = found
        self.model.stop_training = True


def _culprit(model: keras.Model) -> str:
    """Says where gradients broke first, from what the optimizer noted in each step."""
    bring_back(model)
    optimizer = inner(model.optimizer)
    paths = [variable.path for variable in model.trainable_variables]
    norms, broken = np.array(optimizer.gradient_norms), np.array(optimizer.first_bad) > 0
    if not optimizer._records:
        return "the layer is not known, since several devices share a step"
    if not norms.any():
        return "it did so before any gradient was a number"
    largest = int(norms.argmax())
    before = f"the largest gradient was {norms[largest]:.3g}, of {paths[largest]}"
    if not broken.any():
        return before
    if broken.all():
        return f"every gradient broke in one step; in the step before {before}"
    # Gradients come from the output: the layer next to it is where it began.
    first = paths[int(np.flatnonzero(broken)[-1])]
    return f"the gradient of {first} was the first to break; in the step before {before}"
