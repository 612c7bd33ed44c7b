"""Recipes of pretraining: frozen values, as those of training are. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app import settings
from app.errors import RecipeError, RunError
from app.kinds import Leaf
from app.recipe_parts import Augmentation, between, spell_out_embedded

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Unlabelled:
    """Which images to learn from; what they show is not asked.

    Attributes:
        source: Folder of images at any depth, or what else the data.source of a recipe can be, or
            scikit-image:photographs; empty for generated images alone.
        generated: Share of each batch that is generated: fractals, contours, dead leaves and
            textures, each of them new.
        image_size: Side of the square views in pixels; none takes the backbone's own.
        batch_size: Images a training step; each is seen in two views.
        probe: Images with labels, as the data.source of a recipe, on which it is measured at
            intervals how well the features tell classes apart; empty for none.
    """

    source: str = ""
    generated: float = between(0.0, 1.0, 0.0)
    image_size: int | None = between(32, 4096, None)
    batch_size: int = between(2, 65536, 128)
    probe: str = ""


@dataclass(frozen=True)
class Pretraining:
    """What to learn without labels, whole.

    Attributes:
        name: Names the folder of runs.
        data: The images.
        augmentation: How the two views of an image differ.
        backbone: A name that `graft backbones` lists; embedded is compact with the weights that
            come with graft.
        weights: Where to start from: imagenet, embedded, none, or the path of a weights file.
        method: dcl tells the views of an image from those of all others in the batch;
            barlow_twins and byol need no others, so that small batches do; classification
            names generated shapes.
        projection: Widths of the layers that the loss is computed on, and that are left off
            afterwards.
        temperature: Of dcl: the lower, the more the nearest of the others count.
        descriptors: Weight of a second task, beside telling images apart: to read edges, colours
            and patches of a view off its features; 0 for none.
        classes: Of classification: how many shapes there are.
        steps: Training steps in all.
        learning_rate: At its peak; it rises over the first steps and falls by a cosine.
        warmup: Share of the steps over which it rises.
        optimizer: Of which kind.
        weight_decay: Decoupled from the gradient, of kernels alone.
        checkpoint_steps: Steps from one checkpoint, and one measurement, to the next.
        seed: Seeds initialisation, order, views and generated images.
        precision: auto is mixed_float16 on a GPU and float32 elsewhere.
        deterministic: Whether the same seed gives the same weights, bit by bit.
        threads: Among how many threads an operation is divided while deterministic.
        jit_compile: Whether XLA compiles the steps; none is yes on one GPU that need not be
            deterministic, and no elsewhere.
    """

    name: str
    data: Unlabelled = field(default_factory=Unlabelled)
    augmentation: Augmentation = field(default_factory=lambda: Augmentation("contrastive"))
    backbone: str = "compact"
    weights: str = "none"
    method: Literal["dcl", "barlow_twins", "byol", "classification"] = "dcl"
    projection: tuple[int, ...] = between(2, 65536, (512, 128))
    temperature: float = between(0.001, 10.0, 0.1)
    descriptors: float = between(0.0, 1000.0, 0.0)
    classes: int = between(2, 100_000, 128)
    steps: int = between(1, 10**9, 2000)
    learning_rate: float = between(1e-9, 10.0, 2e-3)
    warmup: float = between(0.0, 0.5, 0.05)
    optimizer: Literal["adamw", "lion", "nesterov"] = "adamw"
    weight_decay: float = between(0.0, 10.0, 1e-4)
    checkpoint_steps: int = between(1, 10**9, 100)
    seed: int = between(0, 2**31 - 1, 0)
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    deterministic: bool = True
    threads: int = between(1, 1024, 8)
    jit_compile: bool | None = None

    def __post_init__(self) -> None:
        """Says what `embedded` stands for, as recipes of training do."""
        spell_out_embedded(self, "none")


def generated_images(data: Unlabelled) -> int:
    """Returns how many images of a batch are generated."""
    return round(data.batch_size * data.generated)


def check(recipe: Pretraining) -> None:
    """Makes sure that every leaf has its declared type and lies in its range.

    Raises:
        RecipeError: If one does not, or if two do not go together; the message names them.
    """
    for leaf in settings.leaves(recipe).values():
        leaf.accept(leaf.value)
    if not _NAME.fullmatch(recipe.name):
        raise RecipeError(f"name is {recipe.name!r}: use letters a to z, digits, - and _ only")
    if not recipe.projection:
        raise RecipeError("projection is empty: give the width of one layer at least")
    if recipe.augmentation.mixup or recipe.augmentation.cutmix:
        raise RecipeError("mixup and cutmix blend labels, of which there are none: set them to 0")
    if recipe.method != "classification" and recipe.augmentation.preset == "none":
        raise RecipeError(
            "augmentation.preset is none, so that both views of an image are the same, and there"
            " is nothing to learn: set it to contrastive"
        )
    if recipe.method == "classification" and recipe.descriptors:
        raise RecipeError("method is classification, which has one task only: set descriptors to 0")
    _check_images(recipe)
    if recipe.deterministic and recipe.jit_compile:
        raise RecipeError(
            "jit_compile is true and deterministic is true, which Keras cannot do together: "
            "add --deterministic false, or leave jit_compile"
        )


def _check_images(recipe: Pretraining) -> None:
    data = recipe.data
    alone = not data.source and data.generated == 1
    if recipe.method == "classification" and not alone:
        raise RecipeError(
            "method is classification, of generated shapes alone: leave data.source empty and set"
            " data.generated to 1"
        )
    if not data.source and not alone:
        raise RecipeError(
            "no images named: give a folder with --data.source FOLDER, or set data.generated to 1"
        )
    if data.source and 0 < data.generated < 1 and generated_images(data) in (0, data.batch_size):
        raise RecipeError(
            f"data.generated is {data.generated:g}, of batches of {data.batch_size}: that leaves no"
            " image of one kind; raise data.batch_size, or choose a share in between"
        )
    if data.source and data.generated == 1:
        raise RecipeError(
            "data.generated is 1, which leaves no place for data.source: lower it, or leave"
            " data.source empty"
        )


def override(recipe: Pretraining, changes: Mapping[str, Leaf]) -> Pretraining:
    """Returns the recipe with some of its settings changed; see `app.recipe.override`.

    Raises:
        RecipeError: If a name is unknown, or a value has the wrong type or range.
    """
    changed = settings.override(recipe, changes)
    check(changed)
    return changed


def from_json(text: str) -> Pretraining:
    """Reads a recipe that `settings.to_json` wrote.

    Raises:
        RecipeError: If it is no JSON, or has an unknown or wrong setting.
    """
    recipe = settings.from_json(Pretraining, text)
    check(recipe)
    return recipe


def was_begun(recipe: Pretraining, directory: Path) -> bool:
    """Tells whether pretraining was begun in a directory, and can be gone on with.

    Raises:
        RunError: If it was begun with another recipe.
    """
    file = directory / "recipe.json"
    try:
        if not file.is_file():
            return False
        found = from_json(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, RecipeError) as error:
        raise RunError(f"{file} is no recipe of pretraining: {error}") from error
    if found != recipe:
        changed = "; ".join(settings.differences(found, recipe))
        raise RunError(
            f"{directory} was begun with another recipe ({changed}): go on with that one, or name"
            " a new directory with --run-dir"
        )
    return True
