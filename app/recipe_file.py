"""Recipe files: Python scripts with a `recipe` in them, or the JSON of a run."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from app import pretrain_recipe, settings
from app.errors import RecipeError
from app.kinds import Leaf
from app.pretrain_recipe import Pretraining
from app.recipe import Recipe, from_json

AnyRecipe = TypeVar("AnyRecipe", Recipe, Pretraining)


@dataclass(frozen=True)
class RecipeFile(Generic[AnyRecipe]):
    """What a recipe file defines.

    Attributes:
        path: The file.
        recipe: Its `recipe`.
        run: Its own `run`, or None: it is run in the usual way.
        about: The first line of its docstring, or empty.
        search: Its `search(hp)`, which says what is worth searching; None if it has none.
    """

    path: Path
    recipe: AnyRecipe
    run: Callable[..., Any] | None = None
    about: str = ""
    search: Callable[..., Any] | None = None


def load_recipe_file(path: Path) -> RecipeFile[Recipe]:
    """Loads a recipe file without running the recipe.

    Raises:
        RecipeError: If there is none, or if it fails or defines no recipe.
    """
    return _load_file(path, Recipe, from_json)


def load_pretraining_file(path: Path) -> RecipeFile[Pretraining]:
    """Loads a file that defines what to pretrain, without doing it.

    Raises:
        RecipeError: If there is none, or if it fails or defines nothing of the kind.
    """
    return _load_file(path, Pretraining, pretrain_recipe.from_json)


def _load_file(
    path: Path, kind: type[AnyRecipe], read: Callable[[str], AnyRecipe]
) -> RecipeFile[AnyRecipe]:
    if path.is_dir():
        path = path / "recipe.json"  # a run can be run again
    if not path.is_file():
        raise RecipeError(f"{path} does not exist: give the file of a recipe")
    if path.suffix == ".json":
        return RecipeFile(path, _from_json(path, read))
    module = _load(path)
    recipe, run = getattr(module, "recipe", None), getattr(module, "run", None)
    if not isinstance(recipe, kind):
        other = "pretrain" if isinstance(recipe, Pretraining) else "train"
        hint = f"; `graft {other}` takes what it defines" if recipe is not None else ""
        raise RecipeError(
            f"{path} defines no recipe: it needs `recipe = {kind.__name__}(...)`{hint}"
        )
    search = getattr(module, "search", None)
    for name, found in {"run": run, "search": search}.items():
        if found is not None and not callable(found):
            raise RecipeError(
                f"{path} defines `{name}`, but not as a function: call it something else"
            )
    return RecipeFile(path, recipe, run, first_line(module.__doc__), search)


def read_changes(recipe: Recipe | Pretraining, given: Mapping[str, str]) -> dict[str, Leaf]:
    """Reads what a command line changes, by full path.

    Weights of a run bring the backbone that it trained with them, unless another is given.

    Raises:
        RecipeError: If a name is unknown, or a text is no value of its type.
    """
    changes = settings.parse(recipe, given)
    if "weights" in changes and "backbone" not in changes:
        with suppress(OSError, RuntimeError, ValueError, KeyError, TypeError):  # no run of ours
            run = Path(str(changes["weights"])).expanduser()
            changes["backbone"] = str(json.loads((run / "recipe.json").read_bytes())["backbone"])
    return changes


def first_line(docstring: str | None) -> str:
    """Returns what a docstring says at first; empty if there is none."""
    return (docstring or "").strip().partition("\n")[0]


def _from_json(path: Path, read: Callable[[str], AnyRecipe]) -> AnyRecipe:
    try:
        return read(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, RecipeError) as error:
        raise RecipeError(f"{path} cannot be read as a recipe: {error}") from error


def _load(path: Path) -> ModuleType:
    """Executes the file as a module of a name that shadows nothing."""
    folder = str(path.absolute().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python FILE` does: it may import what lies beside it
    module = ModuleType(f"graft_recipe_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses in the file look themselves up there
    try:
        code = compile(path.read_bytes(), path, "exec", dont_inherit=True)
        exec(code, module.__dict__)
    except SystemExit as error:
        raise RecipeError(
            f"{_place(path, error)}: it runs as soon as it is read;"
            ' put main(recipe) under `if __name__ == "__main__":`'
        ) from error
    except Exception as error:  # a recipe is the user's program: anything may go wrong in it
        what = error.msg if isinstance(error, SyntaxError) else error
        raise RecipeError(f"{_place(path, error)}: {type(error).__name__}: {what}") from error
    return module


def _place(path: Path, error: BaseException) -> str:
    """Finds the line of the file at which it went wrong."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path}, line {lines[-1]}" if lines else str(path)
