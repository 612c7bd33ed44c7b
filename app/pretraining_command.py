"""What `graft pretrain` does and prints; no TensorFlow before the arguments make sense."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from app import settings, verbs
from app.commands import place_of
from app.errors import RunError
from app.explaining import say
from app.pretrain_recipe import Pretraining, override, was_begun
from app.recipe_file import RecipeFile, read_changes
from app.run_directory import check_writable

_log = logging.getLogger("graft")


def pretrain(
    file: RecipeFile[Pretraining],
    given: Mapping[str, str],
    run_dir: str | None = None,
    resume: str | None = None,
) -> int:
    """Pretrains a backbone; the last line is where it lies."""
    place = place_of(run_dir, resume)
    recipe = override(file.recipe, read_changes(file.recipe, given))
    for line in settings.differences(file.recipe, recipe):
        _log.info(line)
    _check_place(recipe, place, resume)
    _check_ready(recipe)
    say(verbs.load("app.pretraining.running").pretrain(recipe, place).directory)
    return 0


def _check_place(recipe: Pretraining, place: Path | None, resume: str | None) -> None:
    begun = place is not None and was_begun(recipe, place)
    if resume is not None and not begun:
        raise RunError(
            f"{place} is no run: it has no recipe.json; `graft pretrain` prints the directory"
            " of a run as its last line"
        )
    if not begun:
        check_writable(recipe.name, place)


def _check_ready(recipe: Pretraining) -> None:
    """Makes sure that backbone, weights and images are there, as far as can be told quickly."""
    verbs.check_backbone(recipe.backbone, recipe.weights, recipe.data.image_size)
    if recipe.data.source and not recipe.data.source.startswith("scikit-image:"):
        verbs.check_source(recipe.data.source)
    if recipe.data.probe:
        verbs.check_source(recipe.data.probe)
