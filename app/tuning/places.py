"""What lies in the directory of a trial. Standard library only."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from app.files import write_whole
from app.tuning.trials import Outcome

OUTCOME, HALVED, RECIPE = "outcome.json", "batch_halved", "recipe.json"
_log = logging.getLogger("graft")


def halve(place: Path) -> None:
    """Lets a trial begin anew with half the batch; what it had done is gone."""
    for each in place.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name != "log.txt":
            each.unlink()
    write_whole(place / HALVED, "memory did not suffice for the whole batch\n")


def take_over(before: Path, directory: Path) -> None:
    """Takes over the checkpoints of another trial, if they are on this machine."""
    checkpoints = directory / "checkpoints"
    if checkpoints.is_dir() or not (before / "checkpoints").is_dir():
        return
    taken = directory / ".partial-checkpoints"
    shutil.rmtree(taken, ignore_errors=True)
    shutil.copytree(before / "checkpoints", taken)
    taken.rename(checkpoints)


def read_outcome(place: Path) -> Outcome | None:
    """Returns what came of a trial that ended just before all was killed."""
    try:
        return Outcome.from_plain(json.loads((place / OUTCOME).read_text("utf-8")))
    except FileNotFoundError:
        return None


@contextmanager
def apart(place: Path) -> Iterator[None]:
    """Keeps what a trial says off the terminal and the log of the search: its own has it."""
    place.mkdir(parents=True, exist_ok=True)
    handlers = list(_log.handlers)
    for each in handlers:
        _log.removeHandler(each)
    try:
        with (place / "output.txt").open("a") as file, redirect_stderr(file):
            yield
    finally:
        for each in handlers:
            _log.addHandler(each)
