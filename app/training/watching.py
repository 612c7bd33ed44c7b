"""Signals of a training that goes well or badly, for TensorBoard, at next to no cost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.training.board import Board
from app.training.callbacks import MONITORED, History, bring_back, inner
from app.training.signals import activations, dead_share, saturated_share, update_ratios

# Of the time that training takes, at most this share goes to watching it.
BUDGET = 0.02
# What looking at all activations is taken to cost, in seconds, until it was measured once.
_FIRST_LOOK = 1.0
_SCALARS = {
    "loss": "loss",
    "accuracy": "accuracy",
    MONITORED: "validation_loss",
    "val_accuracy": "validation_accuracy",
}


class Watch(keras.callbacks.Callback):
    """Writes an epoch's curves and signals to TensorBoard.

    By layer: the norm of the gradient, which the optimizer notes in passing; by how much
    the last update of the epoch changed the weights, relative to their size, unless all
    its steps are run at once; and, as often as the budget allows, which share of the
    activations is dead or saturated.
    """

    def __init__(
        self,
        whole: keras.Model,
        folder: Path,
        history: History,
        pixels: NDArray[np.uint8],
        updates_every: int = 1,
    ) -> None:
        """Looks on during one stage.

        Args:
            whole: Whose activations are looked at, whatever part of it is fitted.
            folder: Where TensorBoard finds it.
            history: Counts the epochs of the run; it comes before this callback.
            pixels: Images whose activations are looked at, uint8 `[images, size, size, 3]`.
            updates_every: Batches an update.
        """
        super().__init__()
        self._whole, self._board = whole, Board(folder)
        self._history, self._pixels, self._span = history, pixels, updates_every
        self._before: dict[str, NDArray[Any]] = {}
        self._ratios: dict[str, float] = {}
        self._begun = self._look = 0.0
        self.spent = 0.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Starts the clock."""
        self._begun, self._look, self.spent = time.monotonic(), _FIRST_LOOK, 0.0

    def _may_spend(self, seconds: float) -> bool:
        return self.spent + seconds <= BUDGET * (time.monotonic() - self._begun)

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Keeps the weights as they are before the last update of the epoch."""
        if batch == max(self.params["steps"] - self._span, 0) and self._may_spend(0.0):
            began = time.monotonic()
            self._before = self._weights()
            self.spent += time.monotonic() - began

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Compares the weights with those before the last update."""
        if batch == self.params["steps"] - 1 and self._before:
            began = time.monotonic()
            self._ratios = update_ratios(self._before, self._weights())
            self._before = {}
            self.spent += time.monotonic() - began

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes what was seen."""
        began = time.monotonic()
        scalars = {name: float((logs or {})[key]) for key, name in _SCALARS.items()}
        scalars["learning_rate"] = self._history.rows[-1]["learning_rate"]
        if self._may_spend(0.0):
            scalars |= {f"gradient_norm/{name}": norm for name, norm in self._norms().items()}
            scalars |= {f"update_ratio/{name}": ratio for name, ratio in self._ratios.items()}
        if self._may_spend(self._look):
            looked = time.monotonic()
            scalars |= self._activations()
            self._look = time.monotonic() - looked
        self._ratios = {}
        self._board.tell(len(self._history.rows), scalars)
        self.spent += time.monotonic() - began

    def _weights(self) -> dict[str, NDArray[Any]]:
        bring_back(self.model)
        return {variable.path: np.array(variable) for variable in self.model.trainable_variables}

    def _norms(self) -> dict[str, float]:
        norms = np.array(inner(self.model.optimizer).gradient_norms)
        paths = [variable.path for variable in self.model.trainable_variables]
        return dict(zip(paths, map(float, norms), strict=True))

    def _activations(self) -> dict[str, float]:
        found = activations(self._whole, self._pixels)
        return {
            f"{what}/{name}": share(values)
            for name, values in found.items()
            for what, share in (("dead_share", dead_share), ("saturated_share", saturated_share))
        }
