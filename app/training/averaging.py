"""Averaged weights: measured, kept and exported in place of those that are being trained."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.recipe import Stage
from app.training.callbacks import Resumable, inner
from app.training.schedules import in_epochs


class Average(Resumable):
    """Puts averages in the place of the weights while they are measured and kept.

    Between the training steps of an epoch and its end the model holds the average, so
    validation, `KeepBest` and everything after them speak of the same weights. It comes
    after `KeepBest` among the callbacks, and then brings back the trained weights.

    `ema` is Keras's own moving average (an option of its optimizers), `swa` an equal
    average of the weights at the ends of epochs (arXiv 1803.05407), BatchNorm statistics
    included. Keras's `SwapEMAWeights` exchanges by adding and subtracting, which changes
    the last bits of the weights each time; here they are copied.
    """

    fields = ("count",)

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._kind = stage.weight_average
        self._from = in_epochs(stage.swa_start, stage.epochs)
        self._epoch = 0
        self.count = 0
        self._trained: list[NDArray[Any]] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remembers which epoch it is."""
        self._epoch = epoch

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Puts the averages in place."""
        if self._kind == "swa" and self._epoch + 1 >= self._from:
            self._add_epoch()
        averages = self._moving() if self._kind == "ema" else self.arrays
        if averages:
            variables = self._variables()
            self._trained = [np.array(variable) for variable in variables]
            _assign(variables, averages)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Brings back the weights that are being trained."""
        if self._trained is not None:
            _assign(self._variables(), self._trained)
            self._trained = None

    def _add_epoch(self) -> None:
        values = [np.array(variable, "float64") for variable in self._variables()]
        self.count += 1
        if not self.arrays:
            self.arrays = [np.zeros_like(value) for value in values]
        for average, value in zip(self.arrays, values, strict=True):
            average += (value - average) / self.count

    def _moving(self) -> list[NDArray[Any]]:
        """Reads Keras's averages; its own callback reaches for them in this way too."""
        optimizer = inner(self.model.optimizer)
        if not int(optimizer._iterations):  # every step so far was left out by loss scaling
            return []
        return [np.array(average) for average in optimizer._model_variables_moving_average]

    def _variables(self) -> list[keras.Variable]:
        if self._kind == "ema":
            return list(inner(self.model.optimizer)._trainable_variables)
        return list(self.model.weights)


def _assign(variables: list[keras.Variable], values: list[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value.astype(variable.dtype))
