"""A run is a directory: where it lies, what is in it. Standard library only."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from app.errors import RecipeError, RunError
from app.files import write_whole
from app.recipe import Recipe, from_json
from app.settings import differences, to_json
from app.working import locked


@dataclass(frozen=True)
class Run:
    """One execution of a recipe.

    Attributes:
        directory: Everything about the run lies in it.
        recipe: As it was run, overrides included.
    """

    directory: Path
    recipe: Recipe

    @property
    def model(self) -> Path:
        """The trained Keras model; there once training is over."""
        return self.directory / "model.keras"

    @property
    def splits(self) -> Path:
        """Which image is in which split."""
        return self.directory / "splits.csv"

    @property
    def history(self) -> Path:
        """A row for each epoch."""
        return self.directory / "history.csv"

    @property
    def has_manifest(self) -> bool:
        """Whether its images were looked at and divided."""
        return (self.directory / "manifest.json").is_file()

    @property
    def is_finished(self) -> bool:
        """Whether it was trained and measured."""
        return self.model.is_file() and (self.directory / "metrics.json").is_file()

    @property
    def predictions(self) -> Path:
        """The answer to every image of the measured splits."""
        return self.directory / "predictions.csv"

    @property
    def log(self) -> Path:
        """What was said while it ran."""
        return self.directory / "log.txt"

    @property
    def manifest(self) -> dict[str, Any]:
        """Data fingerprint, class names in order, versions, hardware."""
        return self._read("manifest.json", "its training did not finish")

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured, by split."""
        return self._read("metrics.json", f"`graft evaluate {self.directory}` measures it")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from training the same run; a process that dies lets go.

        What a killed one had half written is removed.

        Raises:
            RunError: If one is at it.
        """
        with locked(self.directory):
            yield

    def test_images(self) -> list[Path]:
        """Lists the images that were kept apart, in the order of `splits.csv`.

        Raises:
            RunError: If there is no such file, or it is damaged.
        """
        try:
            with self.splits.open(encoding="utf-8", newline="") as file:
                return [Path(row["path"]) for row in csv.DictReader(file) if row["split"] == "test"]
        except FileNotFoundError:
            raise RunError(f"{self.directory} has no splits.csv: it is no whole run") from None
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise RunError(f"{self.splits} is damaged: {error}") from error

    def right_answers(self) -> dict[str, bool]:
        """Tells which test images were named rightly, by their paths.

        Raises:
            RunError: If `predictions.csv` is missing or damaged.
        """
        try:
            with self.predictions.open(encoding="utf-8", newline="") as file:
                return {
                    row["file"]: row["class"] == row["label"]
                    for row in csv.DictReader(file)
                    if row["split"] == "test"
                }
        except (OSError, ValueError, KeyError, csv.Error) as error:
            raise RunError(f"{self.predictions} cannot be read: {error}") from error

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Writes one of its JSON files, whole."""
        write_whole(self.directory / name, json.dumps(content, indent=2) + "\n")

    def _read(self, name: str, if_missing: str) -> dict[str, Any]:
        try:
            content = json.loads((self.directory / name).read_text("utf-8"))
        except FileNotFoundError:
            raise RunError(f"{self.directory} has no {name}: {if_missing}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.directory / name} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise RunError(f"{self.directory / name} is damaged: it holds no JSON object")
        return content


def new_run(recipe: Recipe, directory: Path | None = None) -> Run:
    """Makes the directory of a new run and writes the recipe into it.

    Args:
        recipe: As it will be run.
        directory: Where; `runs/<recipe>/<date and time>` if None.

    Raises:
        RunError: If it cannot be written, or holds something already.
    """
    return Run(new_place(recipe.name, to_json(recipe), directory), recipe)


def new_place(name: str, recipe: str, directory: Path | None = None) -> Path:
    """Makes a new directory and writes `recipe.json` into it.

    Args:
        name: Of the recipe.
        recipe: As it will be run, JSON.
        directory: Where; `runs/<name>/<date and time>` if None.

    Raises:
        RunError: If it cannot be written, or holds something already.
    """
    check_writable(name, directory)
    place = directory or _runs_of(name)
    try:
        place.mkdir(parents=True, exist_ok=True)
        place = directory or _make_numbered(place)
        write_whole(place / "recipe.json", recipe)
    except OSError as error:
        raise RunError(_unwritable(place, error.strerror)) from error
    return place


def begun_run(recipe: Recipe, directory: Path | None) -> Run | None:
    """Opens the run of a recipe that was begun in a directory, finished or not.

    Returns:
        None if no run was begun there.

    Raises:
        RunError: If it is a run of another recipe.
    """
    if directory is None:
        return None
    try:
        if not (directory / "recipe.json").is_file():
            return None
    except OSError as error:  # such as a name that is too long
        raise RunError(_unwritable(directory, error.strerror)) from error
    found = open_run(directory)
    if found.recipe != recipe:
        changes = "; ".join(differences(found.recipe, recipe)) or "it has other stages"
        raise RunError(
            f"{directory} is a run of another recipe ({changes}):"
            " go on with that one, or name a new directory with --run-dir"
        )
    return found


def check_place(recipe: Recipe, directory: Path | None = None) -> None:
    """Makes sure that a run can be begun or gone on with there, and writes nothing.

    Raises:
        RunError: If it cannot be written, or holds something else already.
    """
    begun = begun_run(recipe, directory)
    if begun is None:
        check_writable(recipe.name, directory)
    elif not os.access(begun.directory, os.W_OK | os.X_OK):
        raise RunError(_unwritable(begun.directory, "no permission to write in it"))


def check_writable(name: str, directory: Path | None) -> None:
    """Makes sure that `new_place` will do, and writes nothing.

    Raises:
        RunError: If it will not.
    """
    place = directory or _runs_of(name)
    try:
        if directory and directory.is_dir() and any(map(_is_something, directory.iterdir())):
            raise RunError(f"{place} is not empty: name a new directory with --run-dir")
        above = next(each for each in (place, *place.absolute().parents) if each.exists())
    except OSError as error:
        raise RunError(_unwritable(place, error.strerror)) from error
    if not above.is_dir():
        raise RunError(_unwritable(place, f"{above} is a file"))
    if not os.access(above, os.W_OK | os.X_OK):
        raise RunError(_unwritable(place, f"no permission to write in {above}"))


def _is_something(path: Path) -> bool:
    """What a run leaves that was killed before its recipe was written is nothing."""
    return not path.name.startswith(".partial-")


def _unwritable(place: Path, reason: str | None) -> str:
    return f"{place} cannot be written ({reason}): name another with --run-dir"


def _runs_of(name: str) -> Path:
    return Path("runs") / name


def _make_numbered(parent: Path) -> Path:
    """Named by the second; runs that start within one are numbered."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        place = parent / (stamp if number == 1 else f"{stamp}-{number}")
        with suppress(FileExistsError):  # another run may be making it at this moment
            place.mkdir()
            break
    return place


def open_run(directory: Path) -> Run:
    """Opens the directory of a run.

    Raises:
        RunError: If it is none.
    """
    file = directory / "recipe.json"
    try:
        return Run(directory, from_json(file.read_text("utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        what = "is no run: it has no recipe.json" if directory.exists() else "does not exist"
        raise RunError(
            f"{directory} {what}; `graft train` prints the directory of a run as its last line"
        ) from None
    except (OSError, UnicodeDecodeError, RecipeError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error


def open_finished_run(directory: Path) -> Run:
    """Opens the directory of a run whose training is over.

    Raises:
        RunError: If it is none, or if its training did not finish.
    """
    found = open_run(directory)
    if not found.manifest or not found.model.is_file():
        raise RunError(f"{directory} has no model.keras: its training did not finish")
    return found
