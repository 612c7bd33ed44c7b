"""What `--minutes` asks for, before anything is loaded. Standard library only."""

from __future__ import annotations

import math
from pathlib import Path

from app import settings
from app.budget.choosing import plannable
from app.errors import RecipeError
from app.recipe import Recipe, override
from app.run_directory import begun_run, open_run

MOST_MINUTES = 100_000.0


def read_minutes(text: str) -> float:
    """Reads a number of minutes.

    Raises:
        RecipeError: If it is none, or not above 0.
    """
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes <= MOST_MINUTES:
        raise RecipeError(
            f"--minutes is {text!r}: it must be a number above 0, such as 10 or 2.5,"
            f" at most {MOST_MINUTES:,.0f}"
        )
    return minutes


def planned_before(recipe: Recipe, directory: Path | None) -> Recipe | None:
    """Finds the plan of a run that was begun in a directory.

    Args:
        recipe: Without a plan.
        directory: Of the run.

    Returns:
        The recipe of that run; None if none was begun there.

    Raises:
        RunError: If it is a run of a recipe that no plan for this one could have led to.
    """
    if directory is None or not (directory / "recipe.json").is_file():
        return None
    found = open_run(directory).recipe
    leaves = settings.leaves(found)
    if set(leaves) == set(settings.leaves(recipe)):
        recipe = override(recipe, {path: leaves[path].value for path in plannable(recipe)})
    begun_run(recipe, directory)  # says how they differ
    return found
