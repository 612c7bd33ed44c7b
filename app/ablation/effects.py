"""What taking a part away did, as numbers and as tables."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from app.errors import RunError
from app.evaluation.comparison import paired_interval
from app.recipe import Recipe

# Whether each test image was answered rightly, by its path.
Answers = Mapping[str, bool]
_HEADINGS = ("part", "as written", "without it", "it brought", "95 % interval", "seeds", "verdict")


@dataclass(frozen=True)
class Effect:
    """What taking one part away did, over the seeds for which both runs finished.

    Attributes:
        part: Its name.
        verdict: Whether it helped, in words.
        seeds: How many seeds those are; without any there are no numbers.
        as_written: Median test accuracy of the recipe as written.
        without: Median test accuracy without the part.
        brought: Mean difference of the paired answers, in points: above 0 the part helped.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    part: str
    verdict: str
    seeds: int = 0
    as_written: float | None = None
    without: float | None = None
    brought: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Ablation:
    """What was found, so far.

    Attributes:
        recipe: As written.
        directory: Its runs and tables lie in it.
        seeds: That each recipe is run with.
        effects: One for each part.
        failures: Why a run failed, by its name.
    """

    recipe: Recipe
    directory: Path
    seeds: tuple[int, ...]
    effects: tuple[Effect, ...]
    failures: Mapping[str, str]

    @property
    def failed(self) -> bool:
        """Whether nothing could be compared."""
        return not any(effect.seeds for effect in self.effects)


def effect_of(
    part: str, as_written: Mapping[int, Answers], without: Mapping[int, Answers], failed: bool
) -> Effect:
    """Compares the runs with and without a part, image by image.

    Args:
        part: Its name.
        as_written: Answers by seed.
        without: The same without the part; a seed that one of the two lacks is left out.
        failed: Whether a run of the part failed, which an empty comparison is put down to.

    Raises:
        RunError: If the same seed was tested on other images.
    """
    seeds = [seed for seed in as_written if seed in without]
    if not seeds:
        return Effect(part, "failed" if failed else "not run yet")
    rows = [(seed, path) for seed in seeds for path in as_written[seed]]
    if any(as_written[seed].keys() != without[seed].keys() for seed in seeds):
        raise RunError(
            f"with and without {part} the test images are not the same: the images changed"
            " meanwhile; begin a new ablation"
        )
    found = paired_interval(
        [as_written[seed][path] for seed, path in rows],
        [without[seed][path] for seed, path in rows],
        groups=[seed for seed, _ in rows],
        images=[path for _, path in rows],
    )
    brought, low, high = (round(100 * each, 4) for each in found)
    return Effect(
        part,
        _verdict(low, high),
        seeds=len(seeds),
        as_written=_median_accuracy(as_written, seeds),
        without=_median_accuracy(without, seeds),
        brought=brought,
        low=low,
        high=high,
    )


def _median_accuracy(answers: Mapping[int, Answers], seeds: Sequence[int]) -> float:
    return statistics.median(float(np.mean([*answers[seed].values()])) for seed in seeds)


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return "helped"
    return "hurt" if high < 0 else "cannot be told"


def table(effects: Sequence[Effect]) -> str:
    """Lays the effects out as a table, for a terminal and for Markdown."""
    rows = [_HEADINGS, *map(_cells, effects)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(map(str.ljust, row, widths)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _cells(of: Effect) -> tuple[str, ...]:
    if of.brought is None:
        return of.part, "", "", "", "", str(of.seeds), of.verdict
    return (
        of.part,
        f"{of.as_written:.3f}",
        f"{of.without:.3f}",
        f"{of.brought:+z.1f}",
        f"{of.low:+z.1f} to {of.high:+z.1f}",
        str(of.seeds),
        of.verdict,
    )


def page(ablation: Ablation) -> str:
    """Writes the table with what it takes to read it, as Markdown."""
    seeds = ", ".join(map(str, ablation.seeds))
    parts = [
        f"# What each part of {ablation.recipe.name} brings",
        f"Test accuracy, medians over seeds {seeds}. What a part brought is in points, as written"
        " against without it, image by image: above 0 it helped.",
        table(ablation.effects),
    ]
    if len(ablation.seeds) == 1:
        parts.append("With one seed the interval leaves out how much another seed would change.")
    parts += [f"{name} failed: {reason}" for name, reason in ablation.failures.items()]
    return "\n\n".join(parts) + "\n"


def to_csv(effects: Sequence[Effect]) -> str:
    """Writes the effects as CSV, a row a part."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([each.name for each in fields(Effect)])
    writer.writerows(map(astuple, effects))
    return text.getvalue()
