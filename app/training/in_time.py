"""Ends a stage when the time of a run is over."""

from __future__ import annotations

import logging
import time

import keras

_log = logging.getLogger("graft")


class StopInTime(keras.callbacks.Callback):
    """Ends a stage after the step at which a moment has passed.

    The epoch that is cut short is measured and can be the best one, like any other. What comes
    before it among the callbacks does not see that the stage ends, which would mean that it
    failed; what comes after it does, and keeps it in the checkpoint.
    """

    def __init__(self, until: float) -> None:
        """Prepares for a stage.

        Args:
            until: The moment, by `time.monotonic()`.
        """
        super().__init__()
        self._until = until
        self._cut_short = False

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Ends the epoch, unless another callback has."""
        if time.monotonic() >= self._until and not self.model.stop_training:
            self.model.stop_training = self._cut_short = True

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Takes that back while the epoch is measured."""
        if self._cut_short:
            self.model.stop_training = False

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Ends the stage."""
        last = epoch + 1 == self.params["epochs"]
        if self._cut_short or (time.monotonic() >= self._until and not last):
            self.model.stop_training = True
            _log.warning("the time is over: the stage ends, and its best weights are kept")
