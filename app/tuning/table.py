"""What is seen of a search while it goes on: a row a trial, and a bar with the time left."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from app.tuning.request import Request
from app.tuning.trials import FAILED, RUNNING, STOPPED, Trial, best_of
from app.working import duration

_HEADING = "trial  accuracy    loss  seconds  what it changes"
_log = logging.getLogger("graft")


class Table:
    """Says each trial that ends."""

    def __init__(self, request: Request, until: float | None) -> None:
        """Opens the bar.

        Args:
            request: How many trials there may be.
            until: When all ends, by `time.time()`.
        """
        self._request, self._until = request, until
        self._trials: list[Trial] = []
        self._headed = False
        self._bar: Any = tqdm(total=request.trials, unit=" trials", disable=None, leave=False)

    def begin(self, trials: Iterable[Trial]) -> None:
        """Takes the trials of before, without saying them again."""
        self._trials = [each for each in trials if each.status != RUNNING]
        self._bar.update(len(self._trials))
        if self._trials:
            _log.info("going on after %d trials", len(self._trials))

    def told(self, trial: Trial) -> None:
        """Says a trial."""
        self._trials.append(trial)
        with tqdm.external_write_mode():
            if not self._headed:
                _log.info(_HEADING)
                self._headed = True
            _log.info(row(trial))
        best = best_of(self._trials)
        if best is not None:
            self._bar.set_postfix_str(
                f"best {best.outcome.accuracy:.3f} of trial {best.number}, {self._left()}", False
            )
        self._bar.update()

    def close(self) -> None:
        """Closes the bar."""
        self._bar.close()

    def _left(self) -> str:
        seconds = float("inf")
        if self._request.trials is not None:
            last = [each.outcome.seconds for each in self._trials[-5:]]
            to_do = max(self._request.trials - len(self._trials), 0)
            seconds = to_do * sum(last) / len(last) / max(self._request.workers, 1)
        if self._until is not None:
            seconds = min(seconds, max(self._until - time.time(), 0.0))
        return f"{duration(seconds)} left"


def row(trial: Trial) -> str:
    """Says a trial in a line."""
    of = trial.outcome
    what = trial.what
    if trial.continues is not None:
        what += f" (goes on with trial {trial.continues})"
    if of.status == STOPPED:
        what += f" (stopped after epoch {len(of.curve)}: others did better)"
    if of.said:
        what += f" ({of.said})"
    if of.status == FAILED:
        return f"{trial.number:5}    failed                   {what}"
    return f"{trial.number:5}  {of.accuracy:8.3f}  {of.loss:6.3f}  {of.seconds:7.1f}  {what}"
