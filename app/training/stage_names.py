"""Which stage of a recipe is meant. Standard library only: said before TensorFlow loads."""

from __future__ import annotations

from app.errors import RecipeError
from app.recipe import Recipe


def check_stage(recipe: Recipe, name: str | None) -> str:
    """Returns the name of a stage, which is the first if none is given.

    Raises:
        RecipeError: If the recipe has no such stage.
    """
    stages = list(recipe.stages)
    if name is None:
        return stages[0]
    if name not in stages:
        raise RecipeError(f"{recipe.name} has no stage '{name}': it has {', '.join(stages)}")
    return name
