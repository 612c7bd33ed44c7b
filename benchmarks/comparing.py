"""Methods side by side: accuracy with its interval, CPU seconds, and how they stand to graft's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from measuring import ratios, spread, table
from methods import Outcome

from app.evaluation.comparison import paired_interval

COLUMNS = (
    "method",
    "test accuracy",
    "95 % interval",
    "graft is better by, points",
    "CPU seconds",
    "times graft's",
    "the same beyond importing",
    "wall seconds",
    "peak MB",
)


def compared(outcomes: Mapping[str, Sequence[Outcome]], importing: float) -> str:
    """Writes a table of methods in Markdown; the one called graft is what they are held against.

    Accuracies are means over the rounds; their intervals are over rounds and test images, which
    are the same in every round.

    Args:
        outcomes: By method, in the order of the rounds.
        importing: CPU seconds that each process spends on importing Keras.
    """
    graft = outcomes["graft"]
    return table(COLUMNS, [_row(name, each, graft, importing) for name, each in outcomes.items()])


def accuracy(outcomes: Sequence[Outcome]) -> tuple[float, float, float]:
    """Returns the mean accuracy with the ends of its 95 % interval."""
    return difference(outcomes, None)


def difference(
    first: Sequence[Outcome], second: Sequence[Outcome] | None
) -> tuple[float, float, float]:
    """Returns how much more the first have right, with the ends of the 95 % interval.

    Args:
        first: In the order of the rounds.
        second: The same; what is always wrong if None.

    Raises:
        ValueError: If they did not answer the same images.
    """
    if second is not None and [each.right.keys() for each in first] != [
        each.right.keys() for each in second
    ]:
        raise ValueError("the methods were tested on different images")
    rows = [(number, image) for number, each in enumerate(first) for image in each.right]
    return paired_interval(
        [first[number].right[image] for number, image in rows],
        [second[number].right[image] if second else 0.0 for number, image in rows],
        groups=[number for number, _ in rows],
        images=[image for _, image in rows],
    )


def cpu(outcomes: Sequence[Outcome]) -> list[float]:
    """Lists the CPU seconds of each."""
    return [outcome.used.cpu_seconds for outcome in outcomes]


def _row(
    name: str, outcomes: Sequence[Outcome], graft: Sequence[Outcome], importing: float
) -> list[str]:
    value, low, high = accuracy(outcomes)
    better = [100 * each for each in difference(graft, outcomes)]
    seconds, of_graft = cpu(outcomes), cpu(graft)
    beyond = ([each - importing for each in which] for which in (seconds, of_graft))
    itself = name == "graft"
    return [
        name,
        f"{value:.3f}",
        f"{low:.3f} to {high:.3f}",
        "" if itself else "{:+.1f} ({:+.1f} to {:+.1f})".format(*better),
        spread(seconds),
        "" if itself else spread(ratios(seconds, of_graft), ".2f"),
        "" if itself else spread(ratios(*beyond), ".2f"),
        spread([each.used.wall_seconds for each in outcomes]),
        spread([each.used.peak_bytes / 1e6 for each in outcomes], ".0f"),
    ]
