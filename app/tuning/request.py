"""What `graft tune` is asked for, and the folder that answers. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.errors import RecipeError, RunError
from app.files import write_whole
from app.recipe import Recipe, from_json
from app.run_directory import check_writable
from app.settings import differences, to_json

ALGORITHMS = ("random", "bayesian", "grid", "hyperband")
# Packages that graft installs, but Keras Tuner does not require, for its oracles.
NEEDED = {"bayesian": ("sklearn", "scipy")}
MOST_TRIALS, MOST_WORKERS, MOST_EXECUTIONS = 100_000, 256, 100
_ABOUT = "tuning.json"


@dataclass(frozen=True)
class Request:
    """What to search, and how.

    Attributes:
        recipe: As written, with what the command line changed.
        file: Of the recipe; its `search(hp)` says what is worth searching.
        algorithm: Which of Keras Tuner's oracles proposes.
        executions: How often each trial is trained, each time from another seed.
        folds: In how many parts the images that are not for testing are divided, each of which
            once is what a trial is validated on; 0 for the validation split alone.
        trials: At most, the recipe as written included; None if only time ends it.
        minutes: From the command to its end; None if only the number of trials ends it.
        workers: Processes that train at a time on this machine.
    """

    recipe: Recipe
    file: Path
    algorithm: str = "random"
    executions: int = 1
    folds: int = 0
    trials: int | None = 30
    minutes: float | None = None
    workers: int = 1


@dataclass(frozen=True)
class Tuning:
    """The folder of a search: `tuning.json`, `journal.jsonl`, `trials/`, and what came of them.

    Attributes:
        directory: Everything lies in it.
        request: What was asked for at first.
    """

    directory: Path
    request: Request = field(repr=False)

    @property
    def journal(self) -> Path:
        """Every step of the search, a line each."""
        return self.directory / "journal.jsonl"

    @property
    def log(self) -> Path:
        """What was said meanwhile."""
        return self.directory / "log.txt"

    @property
    def results(self) -> Path:
        """What the search came to; there once it is over."""
        return self.directory / "results.json"

    @property
    def best(self) -> Path:
        """The winner, as a recipe."""
        return self.directory / "best.py"

    @property
    def page(self) -> Path:
        """All of it to look at."""
        return self.directory / "report.html"

    @property
    def is_finished(self) -> bool:
        """Whether as many trials as were asked for are over, and the winner is measured."""
        return self.results.is_file()

    def trial(self, number: int) -> Path:
        """Returns the directory of a trial, which is that of a run."""
        return self.directory / "trials" / f"{number:04d}"


def read_request(
    recipe: Recipe,
    file: Path,
    algorithm: str = "random",
    trials: str | None = None,
    minutes: float | None = None,
    executions: str = "1",
    folds: str = "0",
    workers: str = "1",
) -> Request:
    """Reads what the command line asks for.

    Raises:
        RecipeError: If something makes no sense; the message names the option.
    """
    if algorithm not in ALGORITHMS:
        raise RecipeError(
            f"--algorithm is {algorithm!r}: it must be one of {', '.join(ALGORITHMS)}"
        )
    missing = [each for each in NEEDED.get(algorithm, ()) if find_spec(each) is None]
    if missing:
        raise RecipeError(
            f"--algorithm {algorithm} needs {' and '.join(missing)}: install what is missing, or"
            " take random"
        )
    number = None if trials is None else _whole("trials", trials, 1, MOST_TRIALS)
    if trials is None and minutes is None:
        number = 30
    request = Request(
        recipe,
        file.absolute(),
        algorithm,
        _whole("executions", executions, 1, MOST_EXECUTIONS),
        _whole("folds", folds, 0, MOST_EXECUTIONS),
        number,
        minutes,
        _whole("workers", workers, 0, MOST_WORKERS),
    )
    if request.folds == 1:
        raise RecipeError("--folds is 1: give 2 or more, or 0 for the validation split alone")
    if request.folds and request.executions > 1:
        raise RecipeError("--folds and --executions both repeat each trial: keep one of them")
    if algorithm == "hyperband" and (request.folds or request.executions > 1):
        raise RecipeError(
            "--algorithm hyperband goes on with a trial where it stopped, and trains it once:"
            " leave out --folds and --executions, or take another algorithm"
        )
    return request


def _whole(name: str, text: str, least: int, most: int) -> int:
    number = int(text) if text.isdecimal() and len(text) < 10 else -1
    if not least <= number <= most:
        raise RecipeError(
            f"--{name} is {text!r}: it must be a whole number from {least} to {most:,}"
        )
    return number


def open_tuning(request: Request, output: Path | None, resume: Path | None) -> Tuning:
    """Makes the folder of a search, or finds the one to go on with.

    Args:
        request: What is asked for now.
        output: Where to begin one, or go on with one; `runs/<recipe>/tuning-<date and time>`
            if None, and the newest there that was asked for the same and is not finished.
        resume: One to go on with.

    Raises:
        RunError: If the folder will not do, or is of another search.
    """
    if resume is not None and not (resume / _ABOUT).is_file():
        raise RunError(
            f"{resume} is no tuning: it has no {_ABOUT}; `graft tune` prints the folder of one"
            " as its last line"
        )
    place = resume or output or _unfinished(request)
    if place is not None and (place / _ABOUT).is_file():
        _check_same(place, request)
        return Tuning(place, request)
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    place = place or Path("runs") / request.recipe.name / f"tuning-{stamp}"
    check_writable(request.recipe.name, place)
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / _ABOUT, _to_json(request))
    except OSError as error:
        raise RunError(
            f"{place} cannot be written ({error.strerror}): name another with --output"
        ) from error
    return Tuning(place, request)


def _unfinished(request: Request) -> Path | None:
    folders = sorted((Path("runs") / request.recipe.name).glob("tuning-*"), reverse=True)
    for folder in folders:
        if (folder / _ABOUT).is_file() and not Tuning(folder, request).is_finished:
            try:
                _check_same(folder, request)
            except RunError:
                continue
            return folder
    return None


def _check_same(place: Path, request: Request) -> None:
    """Makes sure that a folder is of the search that is asked for.

    Raises:
        RunError: If it is of another recipe or images, or searched in another way.
    """
    before = _read(place / _ABOUT)
    changes = differences(from_json(json.dumps(before["recipe"])), request.recipe)
    names = set(before["recipe"]["stages"])
    if names != set(request.recipe.stages):
        changes.append("it has other stages")
    now = _identity(request)
    changes += [
        f"--{name}: {before[name]} -> {now[name]}"
        for name in ("algorithm", "executions", "folds")
        if before[name] != now[name]
    ]
    if changes or before["recipe"] != now["recipe"]:
        raise RunError(
            f"{place} is a tuning of another recipe or of other images"
            f" ({'; '.join(changes) or 'the stages differ'}):"
            " go on with that one, or name a new folder with --output"
        )


def _identity(request: Request) -> dict[str, Any]:
    return {
        "recipe": json.loads(to_json(request.recipe)),
        "algorithm": request.algorithm,
        "executions": request.executions,
        "folds": request.folds,
    }


def _to_json(request: Request) -> str:
    said = {**_identity(request), "file": str(request.file)}
    return json.dumps(said, indent=2) + "\n"


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
        content["recipe"]["stages"], content["algorithm"], content["executions"], content["folds"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{file} is damaged: {error!r}") from error
    found: dict[str, Any] = content
    return found


def to_plain(request: Request) -> dict[str, Any]:
    """Returns a request as JSON can hold it, for another process."""
    plain = asdict(request)
    return {**plain, "recipe": to_json(request.recipe), "file": str(request.file)}


def from_plain(plain: Mapping[str, Any]) -> Request:
    """Reads what `to_plain` returned."""
    recipe, file = from_json(plain["recipe"]), Path(plain["file"])
    return Request(**{**plain, "recipe": recipe, "file": file})
