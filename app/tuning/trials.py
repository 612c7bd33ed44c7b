"""Trials: what was proposed, and what came of it. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from app.kinds import Leaf
from app.settings import show
from app.tuning.journal import Event

RUNNING, COMPLETED, STOPPED, FAILED = "running", "completed", "stopped", "failed"


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        status: completed; stopped, as others did better at the same epoch; or failed.
        accuracy: On the validation images, mean over executions or all folds together; of the
            weights that were kept.
        loss: Cross-entropy of the same.
        images: How many validation images that is.
        curve: Validation accuracy after each epoch, of the first execution.
        right: For each execution or fold, a 1 or 0 for each validation image: whether it was
            named rightly.
        seconds: That it took, pauses left out.
        halved: Whether the whole batch did not fit in memory, and half of it was trained.
        said: Why it failed, or what else should be known.
    """

    status: str
    accuracy: float | None = None
    loss: float | None = None
    images: int = 0
    curve: tuple[float, ...] = ()
    right: tuple[str, ...] = ()
    seconds: float = 0.0
    halved: bool = False
    said: str = ""

    @property
    def score(self) -> float | None:
        """What is searched for: accuracy, and of equal ones that of the lower loss.

        What the loss adds is less than one image is worth, whatever the loss.
        """
        if self.accuracy is None or self.loss is None:
            return None
        return self.accuracy - self.loss / (1 + self.loss) / (2 * max(self.images, 1))

    def to_plain(self) -> dict[str, Any]:
        """Returns it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Outcome:
        """Reads what `to_plain` returned."""
        return cls(**{**plain, "curve": tuple(plain["curve"]), "right": tuple(plain["right"])})


@dataclass(frozen=True)
class Trial:
    """One proposal.

    Attributes:
        number: Counted from 0, which is the recipe as written.
        values: Of hyperparameters, by their names; none for the recipe as written.
        changes: Settings in which it differs from the recipe as written, by full path.
        continues: Number of the trial that it goes on with; None if it begins anew.
        epochs: After how many in all it pauses; None if it trains to its end.
        outcome: What came of it.
    """

    number: int
    values: Mapping[str, Leaf] = field(default_factory=dict)
    changes: Mapping[str, Leaf] = field(default_factory=dict)
    continues: int | None = None
    epochs: int | None = None
    outcome: Outcome = Outcome(RUNNING)

    @property
    def status(self) -> str:
        """Of its outcome."""
        return self.outcome.status

    @property
    def what(self) -> str:
        """What it changes, in words."""
        changes = self.changes or self.values  # such as no recipe takes
        each = (f"{path.removeprefix('stages.')} {show(v)}" for path, v in changes.items())
        return ", ".join(each) or "nothing: the recipe as written"

    def to_event(self) -> Event:
        """Returns the step of a journal that it is created in."""
        return {
            "event": "created",
            "trial": self.number,
            "values": dict(self.values),
            "changes": dict(self.changes),
            "continues": self.continues,
            "epochs": self.epochs,
        }


def trials_of(events: Iterable[Event]) -> list[Trial]:
    """Reads the trials out of a journal, in the order of their numbers."""
    found: dict[int, Trial] = {}
    for event in events:
        if event["event"] == "created":
            number = event["trial"]
            found[number] = Trial(
                number,
                event["values"],
                {path: _leaf(value) for path, value in event["changes"].items()},
                event["continues"],
                event["epochs"],
            )
        elif event["event"] == "ended":
            outcome = Outcome.from_plain(event["outcome"])
            found[event["trial"]] = replace(found[event["trial"]], outcome=outcome)
    return [found[number] for number in sorted(found)]


def _leaf(value: Any) -> Leaf:
    return tuple(value) if isinstance(value, list) else value


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Returns the trial of the highest score; of equal ones the first. None if none completed.

    One that pauses before its end, as Hyperband has them, counts if it has gone farthest.
    """
    completed = [each for each in trials if each.status == COMPLETED]
    farthest = max((_reach(each) for each in completed if each.number), default=0.0)
    whole = [each for each in completed if not each.number or _reach(each) == farthest]
    return max(whole, key=lambda each: (each.outcome.score or 0.0, -each.number), default=None)


def _reach(of: Trial) -> float:
    return float("inf") if of.epochs is None else of.epochs
