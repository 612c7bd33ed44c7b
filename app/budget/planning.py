"""Runs a recipe within some minutes: measures, plans, says the plan, and runs it."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from math import ceil
from pathlib import Path

import keras

from app import settings
from app.backbones.table import find_backbone
from app.budget.choosing import Plan, choose
from app.budget.costs import Costs, count
from app.budget.measuring import measure
from app.data.sources import list_images
from app.errors import RecipeError
from app.recipe import Recipe
from app.run_directory import Run
from app.runs import run
from app.training import devices
from app.working import many_networks

# The rest is left for what no measurement foresees.
SHARE = 0.9
_log = logging.getLogger("graft")


def run_within(
    recipe: Recipe, fixed: Collection[str], minutes: float, directory: Path | None, began: float
) -> Run:
    """Runs the plan that uses some minutes best.

    Args:
        recipe: What is wanted.
        fixed: Paths of settings that stay as they are.
        minutes: From `began` to the end of the run.
        directory: See `app.runs.run`.
        began: What `time.monotonic()` said then.

    Raises:
        GraftError: If no plan is quick enough, or the run fails.
    """
    with many_networks():  # depths are traced, and then stages, each once and on purpose
        return _run_within(recipe, fixed, minutes, directory, began)


def _run_within(
    recipe: Recipe, fixed: Collection[str], minutes: float, directory: Path | None, began: float
) -> Run:
    plan = plan_within(recipe, fixed, minutes, began)
    until = began + minutes * 60 - plan.parts["measuring"]
    finished = run(plan.recipe, directory, until)
    took, planned = (time.monotonic() - began) / 60, sum(plan.parts.values()) / 60
    _log.info("took %s of %g minutes; %s were planned", show(took), minutes, show(planned))
    return finished


def plan_within(recipe: Recipe, fixed: Collection[str], minutes: float, began: float) -> Plan:
    """Measures what a recipe's parts take here, chooses, and says what was chosen.

    Returns:
        The plan; its parts begin with `planning`, the seconds that have gone.

    Raises:
        GraftError: If no plan is quick enough, or its images or weights will not do.
    """
    measured = time.monotonic()
    devices.set_up(recipe)
    listing = list_images(recipe.data.source)
    _log.info("measuring what the parts of the recipe take on this machine")
    last = list(recipe.stages)[-1]
    is_fixed = f"stages.{last}.unfreeze" in fixed
    costs = measure(recipe, listing, is_fixed, minutes * 60)
    keras.utils.clear_session()  # else the layers of the run have other names than without a plan
    images = count((file.split for file in listing.files), recipe.data)
    _say_measured(costs, time.monotonic() - measured)
    gone = time.monotonic() - began
    least_size = find_backbone(recipe.backbone).min_size
    room = SHARE * minutes * 60 - gone
    plan = choose(recipe, fixed, least_size, images, costs, room)
    if plan.seconds > room:
        raise RecipeError(_too_few(recipe, plan, minutes, gone))
    plan = Plan(plan.recipe, {"planning": gone, **plan.parts}, plan.loss)
    _say(recipe, plan, minutes)
    return plan


def _say_measured(costs: Costs, seconds: float) -> None:
    _log.info(
        "measured in %.0f s, in ms an image of %d pixels: reading %.2f, varying %.2f, the frozen"
        " network %.2f, training %s",
        seconds,
        costs.image_size,
        *(1000 * each for each in (costs.reading, costs.varying, costs.inference)),
        ", ".join(f"{name} {1000 * depth.step:.2f}" for name, depth in costs.depths.items()),
    )


def _say(recipe: Recipe, plan: Plan, minutes: float) -> None:
    changes = settings.differences(recipe, plan.recipe)
    if changes:
        _log.info("plan for %g minutes:", minutes)
        for line in changes:
            _log.info(line)
    else:
        _log.info("the recipe fits into %g minutes as it is", minutes)
    parts = ", ".join(f"{name} {show(each / 60)}" for name, each in plan.parts.items())
    _log.info("predicted: %s minutes (%s)", show(plan.seconds / 60), parts)


def _too_few(recipe: Recipe, least: Plan, minutes: float, gone: float) -> str:
    needed = ceil((least.seconds + gone) / 60 / SHARE * 10) / 10
    changes = "; ".join(settings.differences(recipe, least.recipe)) or "the recipe as it is"
    return (
        f"--minutes {minutes:g} is too few: the quickest plan ({changes}) needs"
        f" --minutes {needed:g}; give as many, fewer images, or a smaller backbone"
    )


def show(minutes: float) -> str:
    """Writes minutes with two digits that count."""
    return f"{minutes:.2f}" if minutes < 1 else f"{minutes:.1f}"
