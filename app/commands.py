"""What each command of `graft` does and prints.

Nothing here imports TensorFlow before the arguments are known to make sense.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from app import settings, verbs
from app.ablation.parts import default_parts, without
from app.budget.request import planned_before, read_minutes
from app.errors import CacheError, RecipeError
from app.evaluation.tables import class_table, confusion_table, label_table, split_line
from app.explaining import say
from app.recipe import Recipe, check, override, stage_named
from app.recipe_file import RecipeFile, read_changes
from app.run_directory import Run, check_place, open_finished_run, open_run

_log = logging.getLogger("graft")

RunRecipe = Callable[[Recipe, Path | None], Run]


def train(
    file: RecipeFile[Recipe],
    given: Mapping[str, str],
    run_dir: str | None = None,
    resume: str | None = None,
    minutes: str | None = None,
) -> int:
    """Runs a recipe with some settings changed; the last line is where the run lies."""
    began = time.monotonic()
    length = None if minutes is None else read_minutes(minutes)
    if length and file.run:
        raise RecipeError(
            f"{file.path} has a `run` of its own, which cannot be planned: leave out --minutes"
        )
    place = place_of(run_dir, resume)
    recipe = _changed(file.recipe, given)
    if resume is not None and place:
        open_run(place)
    if length and (planned := planned_before(recipe, place)):
        _log.info("%s goes on as it was planned: --minutes plans new runs only", place)
        recipe, length = planned, None
    check_place(recipe, place)  # now: a run of its own may load TensorFlow first
    run: RunRecipe = file.run or verbs.run
    if length:
        verbs.check_ready(recipe)
        fixed = set(read_changes(file.recipe, given))
        finished = verbs.load("app.budget.planning").run_within(recipe, fixed, length, place, began)
    else:
        finished = run(recipe, place)
    if not isinstance(finished, Run):
        raise RecipeError(f"{file.path}: its `run` must return the run that it made")
    say(finished.directory)
    return 0


def place_of(run_dir: str | None, resume: str | None) -> Path | None:
    """Returns the directory that was asked for, if one was.

    Raises:
        RecipeError: If two were, or an empty name.
    """
    if resume is not None and run_dir not in (None, resume):
        raise RecipeError("--run-dir and --resume name two places for the run: keep one of them")
    where = run_dir if resume is None else resume
    if where is not None and not where.strip():
        raise RecipeError("the directory of the run is empty: give one, or leave the option out")
    return None if where is None else Path(where).expanduser()


def find_lr(file: RecipeFile[Recipe], given: Mapping[str, str], stage: str | None = None) -> int:
    """Finds a learning rate; the last line is where the plot lies."""
    recipe = _changed(file.recipe, given)
    stage_named(recipe, stage)
    verbs.check_ready(recipe)
    finding = verbs.load("app.finding")
    others = [word for name, text in given.items() for word in (f"--{name}", text)]
    for line in finding.describe(finding.find(recipe, stage), file.path, others):
        say(line)
    return 0


def diagnose(file: RecipeFile[Recipe], given: Mapping[str, str]) -> int:
    """Prints what each check of a recipe found.

    Returns:
        1 if one failed, else 0.
    """
    recipe = _changed(file.recipe, given)
    verbs.check_ready(recipe)
    passed = True
    for finding in verbs.load("app.diagnosing", engine="tensorflow").diagnose(recipe):
        passed = passed and finding.passed
        say(f"{'pass' if finding.passed else 'FAIL'}  {finding.name}: {finding.number:.3g}")
        for line in (finding.said, *finding.details):
            say(f"      {line}")
    return 0 if passed else 1


def ablate(
    file: RecipeFile[Recipe],
    given: Mapping[str, str],
    over: str = "",
    seeds: str = "3",
    output: str | None = None,
) -> int:
    """Prints what each part of a recipe brings; the last line is where the runs lie.

    Returns:
        1 if nothing could be compared, else 0.
    """
    recipe = _changed(file.recipe, given)
    if not seeds.isdecimal():
        raise RecipeError(f"--seeds is {seeds!r}: it must be a whole number from 1")
    parts = [part.strip() for part in over.split(",") if part.strip()]
    for part in parts or default_parts(recipe):
        without(recipe, part)  # now: what follows loads NumPy, and then TensorFlow
    verbs.check_ready(recipe)
    from app.ablation.effects import table
    from app.ablation.running import ablate as start

    place = None if output is None else Path(output).expanduser()
    found = start(recipe, parts, int(seeds), place, file.run or verbs.run)
    say(table(found.effects))
    say(found.directory)
    return 1 if found.failed else 0


def show(file: RecipeFile[Recipe], given: Mapping[str, str]) -> int:
    """Prints a recipe as it would be run."""
    for leaf in settings.leaves(_changed(file.recipe, given)).values():
        say(f"{leaf.path} = {settings.show(leaf.value)}")
    return 0


def _changed(recipe: Recipe, given: Mapping[str, str]) -> Recipe:
    """Changes a recipe as the command line asks, and says each change."""
    from app.backbones.backbone import check_size
    from app.backbones.table import find_backbone

    check(recipe)
    changed = override(recipe, read_changes(recipe, given))
    backbone = find_backbone(changed.backbone)
    check_size(backbone, changed.data.image_size or backbone.image_size)
    for line in settings.differences(recipe, changed):
        _log.info(line)
    return changed


def evaluate(directory: Path) -> int:
    """Measures a finished run again and prints what was found."""
    metrics = verbs.evaluate(open_finished_run(directory))
    for split, measured in metrics.items():
        say(f"{split}: {split_line(measured)}")
    classes = metrics["test"]["classes"]
    if "confusion" in metrics["test"]:
        say(class_table(classes))
        say(confusion_table(metrics["test"]["confusion"], list(classes)))
    else:
        say(label_table(classes))
    return 0


def rank_backbones(source: str, images: int | None, only: str | None) -> int:
    """Prints which backbones suit some images, the best first.

    Returns:
        1 if none could be ranked, else 0.
    """
    from app.backbones.candidates import at_hand, named
    from app.data.sampling import sample
    from app.data.sources import list_images

    candidates = at_hand() if only is None else named(only)
    if source.startswith(("tfds:", "sklearn:")):
        verbs.load("tensorflow")  # to list these loads it too, but not as quietly
    listing = sample(list_images(source), images)
    ranking = verbs.load("app.ranking")
    found = ranking.rank(candidates, listing)
    if found:
        say(ranking.table(found, listing.many_labels))
    return 0 if found else 1


def backbones() -> int:
    """Lists the backbones and whether their weights are on this machine."""
    from app.backbones.table import BACKBONES
    from app.backbones.weights import is_cached, newest_version, weights_folder

    shipped = f"{newest_version()}, which comes with graft: --backbone embedded"
    say(f"{'name':22} {'pixels':>6} {'parameters':>11}  weights")
    for backbone in BACKBONES.values():
        here = "ImageNet, on this machine" if is_cached(backbone) else "ImageNet, to be downloaded"
        here = here if backbone.weights_file else shipped
        say(f"{backbone.name:22} {backbone.image_size:6} {backbone.parameters:11,}  {here}")
    say(f"ImageNet weights are looked for in {weights_folder()}")
    return 0


def cache(clear: bool, unused_days: int | None) -> int:
    """Lists the features that are kept on this machine, or removes them."""
    from app.features import keeping, places

    if unused_days is not None and not clear:
        raise CacheError("--older-than says which features --clear removes: give both")
    folder, limit = places.features_folder(), places.show_size(places.limit())
    if clear:
        removed, in_use = keeping.clear(unused_days or 0)
        say(f"removed {keeping.summary(removed)} from {folder}")
        if in_use:
            say(f"kept {keeping.summary(in_use)}, in use")
        return 0
    listed = keeping.kept()
    if listed:
        say(keeping.table(listed))
    say(f"{keeping.summary(listed)} of at most {limit} in {folder}")
    return 0
