"""Finding the learning rate of a stage, with a picture of how the loss follows it."""

from __future__ import annotations

import csv
import io
import logging
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.errors import RunError
from app.files import whole_folder, write_whole
from app.models import unfreeze
from app.preparation import prepare
from app.prepared import Prepared
from app.recipe import Recipe, Stage, check, stage_named
from app.run_directory import check_place
from app.training import devices
from app.training.finder import Found, find_stage_rate
from app.training.finder_plot import plot

_log = logging.getLogger("graft")


@dataclass(frozen=True)
class FoundRate:
    """What a search for a learning rate came to.

    Attributes:
        stage: For which it was found.
        test: What was measured, and what follows from it.
        directory: Holds `learning_rate.png` and `learning_rate.csv`.
    """

    stage: str
    test: Found
    directory: Path


def find(recipe: Recipe, stage_name: str | None = None, directory: Path | None = None) -> FoundRate:
    """Finds the learning rate of a stage, once those before it were trained.

    A rate found on a fresh head would say nothing of a stage that begins with a trained one.

    Args:
        recipe: Whose stage; what it says of the stage's learning rate plays no part.
        stage_name: The first if None.
        directory: Where to write; `runs/<recipe>/find-lr-<stage>-<date and time>` if None.

    Raises:
        GraftError: If the recipe, its images, its weights or the directory will not do, or
            no learning rate lowers the loss.
    """
    check(recipe)
    name = stage_named(recipe, stage_name)
    place = directory or _place(recipe, name)
    check_place(recipe, place)
    with devices.strategy_over(devices.gpus()):
        prepared = prepare(recipe)
        _train_before(name, prepared)
        found = _test(name, prepared)
    _write(found, place, f"{recipe.name}, {name}: loss while the learning rate rises")
    return FoundRate(name, found, place)


def describe(found: FoundRate, recipe_file: Path, others: Sequence[str] = ()) -> list[str]:
    """Says what was found, and how to train with it; the last line is where it lies.

    Args:
        found: What was found.
        recipe_file: Of the recipe.
        others: What else was given on the command line.
    """
    rate = f"{found.test.suggestion:g}"
    given = "".join(f" {shlex.quote(word)}" for word in others)
    return [
        f"stage {found.stage}: the loss falls most steeply at a learning rate of {rate}",
        f"graft train {recipe_file}{given} --{found.stage}.learning_rate {rate}",
        str(found.directory),
    ]


def _train_before(name: str, prepared: Prepared) -> None:
    stages = _before(name, prepared.recipe.stages)
    if not stages:
        return
    _log.info("before stage %s is tested, %s is trained", name, ", ".join(stages))
    with tempfile.TemporaryDirectory(prefix="graft-") as folder:
        prepared.trainer(Path(folder)).train(stages)


def _test(name: str, prepared: Prepared) -> Found:
    model, backbone, stages = prepared.model, prepared.backbone, prepared.recipe.stages
    stage = stages[name]
    unfreeze(model, backbone, stage.unfreeze, stage.train_batch_norm)
    _log.info("stage %s: the loss is measured while the learning rate rises", name)
    first = sum(earlier.epochs for earlier in _before(name, stages).values())
    batches = prepared.training(first, stage.epochs)
    return find_stage_rate(model, backbone, stage, prepared.task, batches)


def _before(name: str, stages: Mapping[str, Stage]) -> dict[str, Stage]:
    names = list(stages)
    return {each: stages[each] for each in names[: names.index(name)]}


def _place(recipe: Recipe, stage: str) -> Path:
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / recipe.name / f"find-lr-{stage}-{stamp}"


def _write(found: Found, place: Path, title: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("learning_rate", "loss", "smoothed"))
    writer.writerows(zip(found.rates, found.losses, found.smoothed, strict=True))
    try:
        with whole_folder(place) as temporary:
            write_whole(temporary / "learning_rate.csv", text.getvalue())
            plot(found, temporary / "learning_rate.png", title)
    except OSError as error:
        raise RunError(
            f"{place} cannot be written ({error.strerror}), though the learning rate was found:"
            f" {found.suggestion:g}"
        ) from error
