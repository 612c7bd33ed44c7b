"""The parts of a recipe, and the recipe without each. Standard library only."""

from __future__ import annotations

from dataclasses import replace

from app import settings
from app.errors import RecipeError
from app.kinds import Leaf
from app.recipe import Recipe, override

# What a setting is when it adds nothing; the others have no such value. `patience` has one
# that depends on the stage.
NEUTRAL: dict[str, Leaf] = {
    "weights": "none",
    "preset": "none",
    "flip": "none",
    "mixup": 0.0,
    "cutmix": 0.0,
    "features": "last",
    "normalize": False,
    "units": (),
    "funnel": 0,
    "batch_norm": False,
    "residual": False,
    "dropout": 0.0,
    "output_bias": "zeros",
    "l1": 0.0,
    "l2": 0.0,
    "unfreeze": "head",
    "loss": "cross_entropy",
    "class_weights": "none",
    "label_smoothing": 0.0,
    "weight_decay": 0.0,
    "layer_decay": 1.0,
    "schedule": "constant",
    "warmup_epochs": 0.0,
    "clip_value": None,
    "clip_norm": None,
    "global_clip_norm": None,
    "accumulate_steps": 1,
    "weight_average": "none",
    "train_batch_norm": False,
}
_GROUPS = {
    "transfer": ("weights",),
    "augmentation": ("augmentation.preset", "augmentation.mixup", "augmentation.cutmix"),
}


def default_parts(recipe: Recipe) -> list[str]:
    """Lists what a recipe uses: transfer, augmentation, stages, settings of head and stages.

    A setting that several stages use is one part, by its bare name.

    Raises:
        RecipeError: If it uses nothing that can be taken away.
    """
    used = _used(recipe)
    parts = [name for name, paths in _GROUPS.items() if any(path in used for path in paths)]
    parts += [f"stages.{name}" for name in recipe.stages] if len(recipe.stages) > 1 else []
    bare = [path.rpartition(".")[2] for path in used]
    for path, name in zip(used, bare, strict=True):
        if path.startswith(("head.", "stages.")):
            parts.append(name if bare.count(name) > 1 else path)
    if not parts:
        raise RecipeError(f"{recipe.name} uses nothing that can be taken away")
    return list(dict.fromkeys(parts))


def without(recipe: Recipe, part: str) -> tuple[str, Recipe]:
    """Takes a part away from a recipe.

    Args:
        recipe: Stays as it is.
        part: `transfer`; `augmentation`, with mixup and cutmix; a stage, `stages.<name>`; or
            a setting by its dotted or bare name, which takes its neutral value.

    Returns:
        The part's full name, and the recipe without it.

    Raises:
        RecipeError: If there is no such part, or if it adds nothing to the recipe.
    """
    stage = part.removeprefix("stages.")
    if stage in recipe.stages:
        return f"stages.{stage}", _without_stage(recipe, stage)
    paths, neutral, used = _paths(recipe, part), _neutral_values(recipe), _used(recipe)
    if any(path not in neutral for path in paths):
        raise RecipeError(
            f"{part} has no neutral value to take its place; what can be taken away from "
            f"{recipe.name}: {', '.join(default_parts(recipe))}"
        )
    changes = {path: neutral[path] for path in paths if path in used}
    if not changes:
        raise RecipeError(f"{part} adds nothing to {recipe.name} as it is: leave it out of --over")
    if any(path in ("head.units", "head.funnel") for path in changes):
        changes["head.residual"] = False  # has no layer to bridge then
    return _full_name(part, paths), override(recipe, changes)


def _without_stage(recipe: Recipe, stage: str) -> Recipe:
    rest = {name: each for name, each in recipe.stages.items() if name != stage}
    if not rest:
        raise RecipeError(f"{stage} is the only stage of {recipe.name}: it cannot be taken away")
    return replace(recipe, stages=rest)


def _paths(recipe: Recipe, part: str) -> list[str]:
    """Returns the settings that a part consists of."""
    if part in _GROUPS:
        return list(_GROUPS[part])
    try:
        return settings.find(recipe, part)
    except RecipeError as error:
        from difflib import get_close_matches  # only a mistake pays for it

        groups = [*_GROUPS, *recipe.stages, *(f"stages.{name}" for name in recipe.stages)]
        close = get_close_matches(part, groups, n=1, cutoff=0.7)
        if not close:
            raise
        hint = f"Did you mean '{close[0]}'?"
        raise RecipeError(f"{recipe.name} has no part {part!r}. {hint}") from error


def _full_name(part: str, paths: list[str]) -> str:
    """One name for each part, however it was asked for."""
    if paths == ["weights"]:
        return "transfer"
    return paths[0] if len(paths) == 1 else part


def _used(recipe: Recipe) -> list[str]:
    """Lists the settings that add something to a recipe."""
    now = settings.leaves(recipe)
    return [path for path, value in _neutral_values(recipe).items() if now[path].value != value]


def _neutral_values(recipe: Recipe) -> dict[str, Leaf]:
    """Returns the neutral value of each setting that has one; that of an idle one is its own."""
    now = {path: leaf.value for path, leaf in settings.leaves(recipe).items()}
    bare = {path: path.rpartition(".")[2] for path in now}
    values = {path: NEUTRAL[name] for path, name in bare.items() if name in NEUTRAL}
    idle = ["augmentation.flip"] if recipe.augmentation.preset == "none" else []
    idle += [] if recipe.head.units or recipe.head.funnel else ["head.batch_norm"]
    for name, stage in recipe.stages.items():
        at = f"stages.{name}"
        values[f"{at}.patience"] = stage.epochs  # too long for the stage to stop early
        # The first epoch is always the best so far.
        idle += [f"{at}.patience"] if stage.patience >= stage.epochs - 1 else []
        if stage.unfreeze == "head":
            idle += [f"{at}.layer_decay", f"{at}.train_batch_norm"]
        if stage.schedule == "one_cycle":  # it always rises; 0 would be 30 %
            del values[f"{at}.warmup_epochs"]
    return {path: now[path] if path in idle else value for path, value in values.items()}
