"""Running a recipe as written, and without each of its parts."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from app.ablation.effects import Ablation, Answers, effect_of, page, to_csv
from app.ablation.parts import default_parts, without
from app.errors import GraftError, RecipeError, RunError
from app.files import write_whole
from app.recipe import Recipe, check, override
from app.run_directory import Run
from app.settings import to_json
from app.working import duration, many_networks

RunRecipe = Callable[[Recipe, Path | None], Run]
AS_WRITTEN = "as_written"
_log = logging.getLogger("graft")


def ablate(
    recipe: Recipe,
    over: Sequence[str] = (),
    seeds: int = 3,
    directory: Path | None = None,
    run: RunRecipe | None = None,
) -> Ablation:
    """Runs a recipe as written and without each of its parts, on the same seeds.

    The same seed means the same test images, so that runs are compared image by image. A
    run that fails is said to have, and the others go on. `ablation.csv` and `ablation.md`
    are written after each run.

    Args:
        recipe: As written.
        over: Parts, as `app.ablation.parts.without` knows them; what the recipe uses if empty.
        seeds: How many, counted from the recipe's own.
        directory: Where; `runs/<recipe>/ablation-<date and time>` if None. An ablation of the
            same recipe that was begun there is gone on with.
        run: Trains a recipe in a directory, going on with what was begun there;
            `app.runs.run` if None.

    Raises:
        RecipeError: If the recipe, a part or the number of seeds makes no sense.
        RunError: If the directory will not do, or if the images changed meanwhile.
    """
    check(recipe)
    if seeds < 1:
        raise RecipeError(f"--seeds is {seeds}: it must be at least 1")
    numbers = tuple(range(recipe.seed, recipe.seed + seeds))
    variants = {AS_WRITTEN: recipe, **dict(without(recipe, each) for each in _parts(recipe, over))}
    work = {
        (part, seed): override(variant, {"seed": seed})
        for seed in numbers  # outermost: after the first seed there is something to see
        for part, variant in variants.items()
    }
    place = _open(recipe, directory)
    _log.info("runs and tables go to %s; if stopped, --output %s goes on with them", place, place)
    answers: dict[str, dict[int, Answers]] = {part: {} for part in variants}
    failures: dict[str, str] = {}
    for part, seed in _one_by_one([*work], place):
        name = run_name(part, seed)
        try:
            with _as_if_alone():
                finished = (run or _run)(work[part, seed], place / name)
            answers[part][seed] = finished.right_answers()
        except GraftError as error:
            failures[name] = " ".join(str(error).splitlines())
            _log.error("%s failed: %s", name, failures[name])
        found = _found(recipe, place, numbers, answers, failures)
    return found


def run_name(part: str, seed: int) -> str:
    """Names the directory of a run within that of its ablation."""
    return f"{AS_WRITTEN}-{seed}" if part == AS_WRITTEN else f"without-{part}-{seed}"


def _parts(recipe: Recipe, over: Sequence[str]) -> Sequence[str]:
    if over:
        return over
    parts = default_parts(recipe)
    _log.info("taken away, one at a time: %s", ", ".join(parts))
    return parts


def _run(recipe: Recipe, directory: Path | None) -> Run:
    from app.runs import run  # TensorFlow, only now

    return run(recipe, directory)


@contextmanager
def _as_if_alone() -> Iterator[None]:
    """Lets a run be one of many in a process.

    Keras keeps what it traced, a hundred megabytes for a MobileNet, until its session is
    cleared.
    """
    try:
        with many_networks():
            yield
    finally:
        keras = sys.modules.get("keras")  # it is not there if the run never began
        if keras:
            keras.backend.clear_session()


def _open(recipe: Recipe, directory: Path | None) -> Path:
    """Makes the directory, or makes sure that it holds an ablation of the same recipe."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    place = directory or Path("runs") / recipe.name / f"ablation-{stamp}"
    about = place / "ablation.json"
    try:
        if about.is_file():
            if about.read_text("utf-8") != to_json(recipe):
                raise RunError(
                    f"{place} is an ablation of another recipe, or of other settings:"
                    " name a new directory with --output"
                )
            return place
        if place.is_dir() and any(not each.name.startswith(".") for each in place.iterdir()):
            raise RunError(f"{place} is not empty: name a new directory with --output")
        place.mkdir(parents=True, exist_ok=True)
        write_whole(about, to_json(recipe))
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(
            f"{place} cannot be written ({error}): name another with --output"
        ) from error
    return place


def _one_by_one(work: Sequence[tuple[str, int]], place: Path) -> Iterator[tuple[str, int]]:
    """Yields the runs, and says before each how much is left."""
    names = [run_name(*each) for each in work]
    open_ones = [name for name in names if not (place / name / "metrics.json").is_file()]
    seconds: list[float] = []
    for number, (each, name) in enumerate(zip(work, names, strict=True), 1):
        left = sum(name in open_ones for name in names[number - 1 :])
        _log.info("run %d of %d: %s%s", number, len(work), name, _time_left(seconds, left))
        started = time.monotonic()
        yield each
        if name in open_ones:  # what was there already took no time
            seconds.append(time.monotonic() - started)


def _time_left(seconds: Sequence[float], runs: int) -> str:
    if not seconds:
        return ""
    return f", about {duration(sum(seconds) / len(seconds) * runs)} left"


def _found(
    recipe: Recipe,
    place: Path,
    seeds: tuple[int, ...],
    answers: Mapping[str, Mapping[int, Answers]],
    failures: Mapping[str, str],
) -> Ablation:
    """Compares what there is, and writes it down."""

    def has_failed(part: str) -> bool:
        return any(
            run_name(each, seed) in failures for each in (part, AS_WRITTEN) for seed in seeds
        )

    effects = tuple(
        effect_of(part, answers[AS_WRITTEN], answers[part], has_failed(part))
        for part in answers
        if part != AS_WRITTEN
    )
    found = Ablation(recipe, place, seeds, effects, dict(failures))
    try:
        write_whole(place / "ablation.csv", to_csv(effects))
        write_whole(place / "ablation.md", page(found))
    except OSError as error:
        raise RunError(f"{place} cannot be written: {error.strerror}") from error
    return found
