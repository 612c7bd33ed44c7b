"""Which plan for a recipe uses some seconds best. Standard library only."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, sqrt

from app.budget.costs import Costs, Counts, predict, size_of
from app.features.walking import views_kept
from app.recipe import Recipe, Stage

# What is expected to be lost, in points of accuracy; measured, see docs/budget.md.
SMALLER = 30.0  # times the square of the share by which images are smaller
SHALLOWER = 4.0  # times 1 less the root of the share of blocks that train
ONE_VIEW = 1.0  # of each image where two were asked for
SHORTER = 1.0  # times how often the epochs that are left out go into those that are not
SIZE_STEP = 32  # pixels; networks halve a map five times
MOST_LENGTHS = 40


@dataclass(frozen=True)
class Plan:
    """A recipe as it would be run.

    Attributes:
        recipe: With the changes of the plan.
        parts: Predicted seconds, see `predict`.
        loss: Points of accuracy that are expected to be lost against the recipe as it was.
    """

    recipe: Recipe
    parts: dict[str, float]
    loss: float

    @cached_property
    def seconds(self) -> float:
        """All parts together."""
        return sum(self.parts.values())


def choose(
    recipe: Recipe,
    fixed: Collection[str],
    least_size: int,
    images: Counts,
    costs: Costs,
    seconds: float,
) -> Plan:
    """Chooses, of all plans that take no longer than some seconds, the one that loses least.

    So more seconds never lead to a plan that loses more, and a plan never takes more than
    there are, by its own prediction.

    Args:
        recipe: What is wanted; no plan goes beyond it.
        fixed: Paths of settings that stay as they are.
        least_size: Least side of images in pixels that the backbone takes.
        images: It is run on.
        costs: Of the depths of its stages, and of those that are to be tried.
        seconds: From a loaded TensorFlow to the end.

    Returns:
        The plan; the quickest of all if none is quick enough.
    """
    every = [
        Plan(changed, predict(changed, images, costs), _loss(recipe, changed, costs))
        for changed in _variants(recipe, fixed, least_size, costs)
    ]
    fitting = [plan for plan in every if plan.seconds <= seconds]
    if not fitting:
        return min(every, key=lambda plan: plan.seconds)
    return min(fitting, key=lambda plan: (plan.loss, plan.seconds))


def plannable(recipe: Recipe) -> set[str]:
    """Lists the paths of all settings that a plan may change."""
    last = list(recipe.stages)[-1]
    epochs = {f"stages.{name}.epochs" for name in recipe.stages}
    return {"data.image_size", f"stages.{last}.unfreeze", f"stages.{last}.views", *epochs}


def shallower(unfreeze: str, blocks: int) -> list[str]:
    """Names the depths that may be tried in place of one: half of it, a quarter, the head alone.

    Args:
        unfreeze: Of the last stage.
        blocks: How many that unfreezes.
    """
    if unfreeze == "head" or ".." in unfreeze:
        return ["head"]
    return ["head", *dict.fromkeys(f"top:{ceil(blocks / part)}" for part in (4, 2))]


def _variants(
    recipe: Recipe, fixed: Collection[str], least_size: int, costs: Costs
) -> Iterator[Recipe]:
    name = list(recipe.stages)[-1]
    for size in _sizes(recipe, fixed, least_size, costs):
        data = replace(recipe.data, image_size=size)
        for last in _last_stages(recipe, fixed, costs):
            stages = {**recipe.stages, name: last}
            for length in _lengths(recipe, fixed):
                shortened = {
                    each: _shortened(each, stage, fixed, length) for each, stage in stages.items()
                }
                yield replace(recipe, data=data, stages=shortened)


def _sizes(
    recipe: Recipe, fixed: Collection[str], least_size: int, costs: Costs
) -> list[int | None]:
    """Lists the recipe's size, and rounder ones down to half of it."""
    own = recipe.data.image_size
    if "data.image_size" in fixed:
        return [own]
    whole = size_of(recipe, costs)
    least = max(least_size, ceil(whole / 2))
    smaller = range(SIZE_STEP * ceil(least / SIZE_STEP), whole, SIZE_STEP)
    return [own, *smaller]


def _last_stages(recipe: Recipe, fixed: Collection[str], costs: Costs) -> Iterator[Stage]:
    name, stage = list(recipe.stages.items())[-1]
    depths = [stage.unfreeze]
    if f"stages.{name}.unfreeze" not in fixed:
        deepest = costs.depths[stage.unfreeze].share
        depths += [
            other
            for other, depth in costs.depths.items()
            if depth.share < deepest and (other == "head" or other.startswith("top:"))
        ]
    for unfreeze in depths:
        changed = replace(stage, unfreeze=unfreeze)
        yield changed
        if views_kept(changed, costs.varies) > 1 and f"stages.{name}.views" not in fixed:
            yield replace(changed, views=1)


def _lengths(recipe: Recipe, fixed: Collection[str]) -> list[float]:
    """Lists shares of their epochs that stages may have; the longest has each number of them."""
    free = [
        stage.epochs
        for name, stage in recipe.stages.items()
        if f"stages.{name}.epochs" not in fixed
    ]
    longest = max(free, default=1)
    steps = min(longest, MOST_LENGTHS)
    if steps == longest:
        lengths = set(range(1, longest + 1))
    else:
        lengths = {round(longest ** (step / steps)) for step in range(steps + 1)}
    return [length / longest for length in sorted(lengths)]


def _shortened(name: str, stage: Stage, fixed: Collection[str], length: float) -> Stage:
    if f"stages.{name}.epochs" in fixed:
        return stage
    return replace(stage, epochs=max(ceil(round(stage.epochs * length, 6)), 1))


def _loss(recipe: Recipe, changed: Recipe, costs: Costs) -> float:
    """Adds up what each change is expected to lose."""
    smaller = 1 - size_of(changed, costs) / size_of(recipe, costs)
    loss = SMALLER * smaller**2 + SHALLOWER * (_depth(recipe, costs) - _depth(changed, costs))
    pairs = list(zip(recipe.stages.values(), changed.stages.values(), strict=True))
    left_out = [before.epochs / after.epochs - 1 for before, after in pairs]
    loss += SHORTER * sum(left_out) / len(left_out)
    before, after = pairs[-1]
    if after.views == 1 and after.unfreeze != "head" and before.views != 1:
        loss += ONE_VIEW
    return loss


def _depth(recipe: Recipe, costs: Costs) -> float:
    return sqrt(max(costs.depths[stage.unfreeze].share for stage in recipe.stages.values()))
