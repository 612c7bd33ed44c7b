"""Recipes: frozen values that say what to do, and nothing else.

Every leaf of a recipe is a string, a number, a truth value, None or a tuple of
them, so a recipe travels unchanged to the command line, to JSON beside the run
and to a hyperparameter search. This module uses the standard library only:
mistakes are answered before TensorFlow loads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from app import settings
from app.errors import RecipeError
from app.kinds import Leaf
from app.recipe_parts import (
    Augmentation,
    Data,
    Head,
    Stage,
    Stages,
    between,
    spell_out_embedded,
)

__all__ = [
    "Augmentation",
    "Data",
    "Head",
    "Recipe",
    "Stage",
    "Stages",
    "check",
    "from_json",
    "override",
    "stage_named",
]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Recipe:
    """What to do, whole.

    Attributes:
        name: Names the folders of runs and exports.
        data: The images.
        augmentation: How training images are varied.
        backbone: A name that `graft backbones` lists; embedded is compact with the weights that
            graft ships.
        weights: imagenet, embedded, none, or the path of a weights file.
        head: The new layers.
        stages: What is trained when, in order.
        seed: Seeds initialisation, splits, order, dropout and augmentation.
        precision: auto is mixed_float16 on a GPU and float32 elsewhere.
        deterministic: Whether the same seed gives the same weights, bit by bit; false is quicker
            on a GPU.
        threads: Among how many threads an operation is divided while deterministic: the bits
            follow from it, and not from the number of cores.
        jit_compile: Whether XLA compiles the steps; none is yes on one GPU that need not be
            deterministic, and no elsewhere.
        checkpoint_steps: Steps from one checkpoint to the next; none is one each epoch.
        cache: Whether what frozen blocks make of a view is kept, on this machine, for later
            epochs and other runs; see `graft cache`.
    """

    name: str
    data: Data = field(default_factory=Data)
    augmentation: Augmentation = field(default_factory=Augmentation)
    backbone: str = "mobilenet_v2"
    weights: str = "imagenet"
    head: Head = field(default_factory=Head)
    stages: Mapping[str, Stage] = field(default_factory=lambda: {"train": Stage()})
    seed: int = between(0, 2**31 - 1, 0)
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    deterministic: bool = True
    threads: int = between(1, 1024, 8)
    jit_compile: bool | None = None
    checkpoint_steps: int | None = between(1, 10**9, None)
    cache: bool = True

    def __post_init__(self) -> None:
        """Takes a copy of the stages, and says what `embedded` stands for."""
        if isinstance(self.stages, Mapping):
            object.__setattr__(self, "stages", Stages(self.stages))
        spell_out_embedded(self, "imagenet")  # of which there are none for compact

    @property
    def epochs(self) -> int:
        """Of all stages."""
        return sum(stage.epochs for stage in self.stages.values())


def check(recipe: Recipe) -> None:
    """Makes sure that every leaf has its declared type and lies in its range.

    Raises:
        RecipeError: If one does not; the message names it.
    """
    for leaf in settings.leaves(recipe).values():
        leaf.accept(leaf.value)
    if not _NAME.fullmatch(recipe.name):
        raise RecipeError(f"name is {recipe.name!r}: use letters a to z, digits, - and _ only")
    if not recipe.stages:
        raise RecipeError(f"{recipe.name} has no stage: give it at least one")
    if recipe.data.validation_fraction + recipe.data.test_fraction >= 1:
        raise RecipeError(
            "data.validation_fraction and data.test_fraction leave no image for training: "
            "their sum must be less than 1"
        )
    for name, stage in recipe.stages.items():
        if not _STAGE_NAME.fullmatch(name):
            raise RecipeError(f"{name!r} names a stage: use letters a to z, digits and _ only")
        _check_unfreeze(f"stages.{name}.unfreeze", stage.unfreeze)
        _check_stage(recipe, f"stages.{name}", stage)
    _check_head(recipe.head)
    if recipe.deterministic and recipe.jit_compile:
        raise RecipeError(
            "jit_compile is true and deterministic is true, which Keras cannot do together: "
            "add --deterministic false, or leave jit_compile"
        )


def _check_head(head: Head) -> None:
    if head.units and head.funnel:
        raise RecipeError("head.units and head.funnel both set the hidden layers: keep one of them")
    if head.residual and not (head.units or head.funnel):
        raise RecipeError("head.residual is true, but there is no hidden layer: set head.units")


def _check_stage(recipe: Recipe, path: str, stage: Stage) -> None:
    clips = ("clip_value", "clip_norm", "global_clip_norm")
    given = [name for name in clips if getattr(stage, name) is not None]
    if len(given) > 1:
        raise RecipeError(f"{path} clips gradients by {' and '.join(given)}: keep one of them")
    if stage.loss == "hinge" and stage.label_smoothing:
        raise RecipeError(f"{path}.label_smoothing means nothing to the hinge loss: leave it at 0")
    if stage.loss == "hinge" and (recipe.augmentation.mixup or recipe.augmentation.cutmix):
        raise RecipeError(
            f"{path}.loss is 'hinge', which needs one class an image: "
            "set augmentation.mixup and augmentation.cutmix to 0"
        )


def _check_unfreeze(path: str, unfreeze: str) -> None:
    """Blocks are known only once the backbone is; a count or a share can be checked now."""
    if ".." in unfreeze and not all(unfreeze.split("..", 1)):
        raise RecipeError(f"{path} is {unfreeze!r}: write <first block>..<last block>")
    if unfreeze.startswith("top:") and not re.fullmatch(r"top:[1-9]\d*", unfreeze):
        raise RecipeError(f"{path} is {unfreeze!r}: write top:<number of blocks>, such as top:2")
    if re.match(r"[-+.\d]", unfreeze):
        try:
            share = float(unfreeze)
        except ValueError:
            share = -1.0
        if not 0 < share <= 1:
            raise RecipeError(
                f"{path} is {unfreeze!r}: a share of the blocks is above 0, at most 1"
            )


def override(recipe: Recipe, changes: Mapping[str, Leaf]) -> Recipe:
    """Returns the recipe with some of its settings changed; `recipe` stays as it is.

    Args:
        recipe: Where to start from.
        changes: By name: a dotted suffix (`fine_tune.epochs`) reaches one leaf,
            a bare name (`epochs`) every leaf of that name. Later ones win.

    Raises:
        RecipeError: If a name is unknown, or a value has the wrong type or range.
    """
    changed = settings.override(recipe, changes)
    check(changed)
    return changed


def stage_named(recipe: Recipe, name: str | None) -> str:
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


def from_json(text: str) -> Recipe:
    """Reads a recipe that `settings.to_json` wrote.

    Raises:
        RecipeError: If it is no JSON, or has an unknown or wrong setting.
    """
    recipe = settings.from_json(Recipe, text)
    check(recipe)
    return recipe
