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
from app.recipe_file import RecipeFile
from app.tuning.request import Tuning, from_plain, open_tuning, read_request
from app.tuning.results import lines
from app.tuning.supervising import supervise
from app.working import locked, said_if_stopped

_log = logging.getLogger("graft")


def tune(
    file: RecipeFile[Recipe],
    given: Mapping[str, str],
    output: str | None = None,
    resume: str | None = None,
    minutes: str | None = None,
    **asked: str,
) -> int:
    """Searches for better settings; the last line is the folder of the search.

    Returns:
        1 if no trial was completed, else 0.
    """
    began = time.time()
    recipe = override(file.recipe, settings.parse(file.recipe, given))
    length = None if minutes is None else read_minutes(minutes)
    request = read_request(recipe, file.path, minutes=length, **asked)
    if output is not None and resume is not None:
        raise RecipeError("--output and --resume name two folders: keep one of them")
    verbs.check_ready(recipe)
    for line in settings.differences(file.recipe, recipe):
        _log.info(line)
    if file.run:
        _log.info("the `run` of %s plays no part: trials are trained in the usual way", file.path)
    tuning = open_tuning(request, _folder(output), _folder(resume))
    _log.info("the search goes to %s; the same command goes on with it", tuning.directory)
    with said_if_stopped(tuning.directory), locked(tuning.directory):
        code = supervise(tuning, None if length is None else began + 60 * length)
    if code:
        return code
    results = json.loads(tuning.results.read_text("utf-8"))
    for sentence in lines(results, tuning.directory):
        say(sentence)
    say(tuning.directory)
    return 1 if results["winner"] is None else 0


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
    code: int = module.search_alone(tuning, asked["until"])
    return code
