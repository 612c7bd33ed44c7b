"""What `graft tune` does and prints; no TensorFlow in this process."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app import settings, verbs
from app.budget.request import read_minutes
from app.errors import RecipeError
from app.explaining import guarded, say
from app.recipe import Recipe, override
from app.recipe_file import RecipeFile, read_changes
from app.tuning.request import Tuning, from_plain, open_tuning, read_request
from app.tuning.results import lines
from app.tuning.supervising import Plan, supervise
from app.working import locked, said_if_stopped

_log = logging.getLogger("graft")


def tune(
    file: RecipeFile[Recipe],
    given: Mapping[str, str],
    output: str | None = None,
    resume: str | None = None,
    minutes: str | None = None,
    chief: str | None = None,
    worker: str | None = None,
    **asked: str,
) -> int:
    """Searches for better settings; the last line is the folder of the search.

    Returns:
        1 if no trial was completed, else 0.
    """
    began = time.time()
    recipe = override(file.recipe, read_changes(file.recipe, given))
    length = None if minutes is None else read_minutes(minutes)
    if chief is not None and "workers" not in asked:
        asked["workers"] = "0"  # those of other machines
    request = read_request(recipe, file.path, minutes=length, **asked)
    _check_addresses(chief, worker)
    if not request.workers and chief is None:
        raise RecipeError("--workers is 0: only a --chief can leave all training to others")
    if output is not None and resume is not None:
        raise RecipeError("--output and --resume name two folders: keep one of them")
    verbs.check_ready(recipe)
    for line in settings.differences(file.recipe, recipe):
        _log.info(line)
    if file.run:
        _log.info("the `run` of %s plays no part: trials are trained in the usual way", file.path)
    if worker is not None:
        place = _folder(output) or Path("runs") / recipe.name
        return supervise(Plan(Tuning(place, request), master=worker))
    tuning = open_tuning(request, _folder(output), _folder(resume))
    _log.info("the search goes to %s; the same command goes on with it", tuning.directory)
    with said_if_stopped(tuning.directory), locked(tuning.directory):
        until = None if length is None else began + 60 * length
        code = supervise(Plan(tuning, until, chief))
    return code or _say(tuning)


def _say(tuning: Tuning) -> int:
    results = json.loads(tuning.results.read_text("utf-8"))
    for sentence in lines(results, tuning.directory):
        say(sentence)
    say(f"all trials to look at: {tuning.page}")
    say(tuning.directory)
    return 1 if results["winner"] is None else 0


def _check_addresses(chief: str | None, worker: str | None) -> None:
    if chief is not None and worker is not None:
        raise RecipeError("--chief and --worker are for two commands: keep one of them")
    for name, address in (("chief", chief), ("worker", worker)):
        host, _, port = (address or "localhost:1").rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
            raise RecipeError(
                f"--{name} is {address!r}: it must be HOST:PORT, such as 10.0.0.5:8790"
            )


def _folder(text: str | None) -> Path | None:
    if text is None:
        return None
    if not text.strip():
        raise RecipeError("the folder of the search is empty: give one, or leave the option out")
    return Path(text).expanduser()


def process() -> int:
    """What a process of a search runs; returns its exit code."""
    return guarded(_process)


def _process() -> int:
    asked: dict[str, Any] = json.loads(sys.argv[1])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tuning = Tuning(Path(asked["directory"]), from_plain(asked["request"]))
    module = verbs.load("app.tuning.process")
    module.end_with(asked["parent"])
    role, until, address = asked["role"], asked["until"], asked["address"]
    code: int
    if role == "alone":
        code = module.search_alone(tuning, until)
    elif role == "chief":
        code = module.search_as_chief(tuning, until, address)
    else:
        code = module.work_for_chief(tuning, address, role, asked["elsewhere"])
    return code
