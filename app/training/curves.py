"""The courses that losses take over the epochs of a stage. Standard library only.

The thresholds are rules of thumb, set so that what a few hundred images do by chance stays
below them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Any

# Nats: by so little a loss changes without an answer changing.
LEAST = 0.02
# Share by which a training loss rises from one epoch to the next: averaged over an epoch it
# should hardly rise at all.
SWING = 0.10
# Nats: a training loss near zero is doubled by a mistake or two.
SWING_LEAST = 0.05
# Share by which a validation loss ends above its minimum, once it only gets worse.
RISE = 0.10
# Share by which a validation loss must fall for more epochs to be worth their time.
CLEAR = 0.05
# Share of its loss that a stage takes away at most if its rate is far too low.
SLOW = 0.25
# Of two halves of a straight course, how much the lesser brings of the other.
STRAIGHT = 2 / 3
# Epochs that a swing, or a straight line, needs to be told from chance.
FEW = 4


@dataclass(frozen=True)
class Epoch:
    """What `history.csv` says of one epoch."""

    stage: str
    number: str
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float

    @property
    def is_whole(self) -> bool:
        """Whether all of its numbers are numbers."""
        return all(map(math.isfinite, astuple(self)[2:]))

    @property
    def gap(self) -> float:
        """By how much the accuracy of training exceeds that of validation."""
        return self.accuracy - self.validation_accuracy


def read_epochs(rows: Iterable[Mapping[str, Any]]) -> list[Epoch]:
    """Reads the rows of a history, numbers as text or as numbers."""
    return [
        Epoch(
            stage=str(row.get("stage")),
            number=str(row.get("epoch")),
            loss=_number(row.get("loss")),
            accuracy=_number(row.get("accuracy")),
            validation_loss=_number(row.get("validation_loss")),
            validation_accuracy=_number(row.get("validation_accuracy")),
        )
        for row in rows
    ]


def _number(cell: Any) -> float:
    """A cell that holds no number is as good as one that says so."""
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def swings(losses: Sequence[float]) -> bool:
    """Whether a training loss rises in a third of its steps, or over all."""
    steps = [_rises(before, after) for before, after in pairwise(losses)]
    often = len(losses) >= FEW and sum(steps) * 3 >= len(steps)
    return often or _rises(losses[0], losses[-1])


def _rises(before: float, after: float) -> bool:
    return after - before > max(SWING * before, SWING_LEAST)


def creeps(losses: Sequence[float]) -> bool:
    """Whether a training loss falls at every step, slowly, and hardly slower at the end."""
    half = len(losses) // 2
    first, second = losses[0] - losses[half], losses[-1 - half] - losses[-1]
    falls = all(after < before for before, after in pairwise(losses))
    straight = STRAIGHT * first <= second <= first / STRAIGHT
    slow = LEAST <= losses[0] - losses[-1] <= SLOW * losses[0]
    return len(losses) >= FEW and falls and straight and slow


def turning_point(epochs: Sequence[Epoch]) -> Epoch | None:
    """Finds the epoch from which on validation gets worse while training gets better."""
    losses = [each.validation_loss for each in epochs]
    lowest = losses.index(min(losses))
    after = losses[lowest + 1 :]
    if len(after) < 2 or not epochs[-1].loss < epochs[lowest].loss:
        return None
    least = losses[lowest] + max(RISE * losses[lowest], LEAST)
    # On average too: a last epoch may be worse by chance.
    return epochs[lowest] if min(sum(after) / len(after), after[-1]) >= least else None


def still_falls(losses: Sequence[float]) -> bool:
    """Whether the last third, three epochs at least, falls clearly, beyond its scatter, to a low.

    A fall from a bump back to where the curve was before is no progress.
    """
    tail = losses[-max(math.ceil(len(losses) / 3), 3) :]
    if len(tail) < 3 or losses[-1] > min(losses) + LEAST:
        return False
    middle, mean = (len(tail) - 1) / 2, sum(tail) / len(tail)
    spread = sum((x - middle) * (x - middle) for x in range(len(tail)))
    slope = sum((x - middle) * (y - mean) for x, y in enumerate(tail)) / spread
    scatter = max(abs(y - mean - slope * (x - middle)) for x, y in enumerate(tail))
    return -slope * (len(tail) - 1) >= max(CLEAR * mean, LEAST, 2 * scatter)
