"""Keeps of the trials what may be needed again. Standard library only."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from app.tuning.request import Tuning
from app.tuning.trials import RUNNING, Trial, best_of


def tidy(tuning: Tuning, trials: Iterable[Trial]) -> None:
    """Removes the checkpoints of trials that are over, but of the first and of the best."""
    listed = list(trials)
    best = best_of(listed)
    for each in listed:
        if each.number and each.status != RUNNING and each != best:
            for folder in tuning.trial(each.number).rglob("checkpoints"):
                shutil.rmtree(folder, ignore_errors=True)
