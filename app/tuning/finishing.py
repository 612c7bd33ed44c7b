"""What a search came to: the winner measured once, beside the recipe as written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.evaluation.comparison import paired_interval
from app.files import write_whole
from app.recipe import override
from app.run_directory import Run
from app.runs import complete
from app.settings import to_json
from app.tuning.hparams import write_hparams
from app.tuning.inflation import inflation
from app.tuning.page import page
from app.tuning.places import RECIPE, apart
from app.tuning.request import Tuning
from app.tuning.results import lines, to_csv
from app.tuning.training import Trainer, with_half_the_batch
from app.tuning.trials import COMPLETED, Trial, best_of
from app.tuning.writing import to_code


@dataclass(frozen=True)
class Measured:
    """A trial on the images that were kept apart.

    Attributes:
        trial: Which.
        run: Its directory, which is now that of a whole run.
        accuracy: On the test images, with the ends of its 95 % interval.
    """

    trial: Trial
    run: Run
    accuracy: tuple[float, float, float]


def measure(trainer: Trainer, trial: Trial) -> Measured:
    """Makes a whole run of a trial that completed, on from its checkpoint if that is here.

    One that another machine trained is trained again.
    """
    place = trainer.tuning.trial(trial.number)
    recipe = override(trainer.tuning.request.recipe, trial.changes)
    whole = Run(place, with_half_the_batch(recipe) if trial.outcome.halved else recipe)
    if not (place / RECIPE).is_file():
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / RECIPE, to_json(whole.recipe))
    if not whole.is_finished:
        with apart(place):
            complete(whole, lambda: trainer.prepared(whole.recipe))
    found = whole.metrics["test"]["accuracy"]
    return Measured(trial, whole, (found["value"], found["low"], found["high"]))


def finish(trainer: Trainer, trials: Sequence[Trial]) -> dict[str, Any]:
    """Measures the winner and the recipe as written on the test images, and writes all down.

    Returns:
        What `results.json` holds.
    """
    winner, tuning = best_of(trials), trainer.tuning
    results: dict[str, Any] = {"trials": len(trials), "winner": None}
    measured: dict[int, Measured] = {}
    if winner is not None:
        completed = [each.number for each in trials if each.status == COMPLETED]
        for number in sorted({0, winner.number} & set(completed)):
            measured[number] = measure(trainer, trials[number])
        results |= _compared(winner, trials, measured)
        write_whole(tuning.best, _best(tuning, measured[winner.number], measured.get(0), results))
    write_whole(tuning.directory / "trials.csv", to_csv(trials))
    write_whole(tuning.page, page(tuning, trials, results))
    write_hparams(trials, tuning.directory / "tensorboard")
    write_whole(tuning.results, json.dumps(results, indent=2) + "\n")
    return results


def _compared(
    winner: Trial, trials: Sequence[Trial], measured: dict[int, Measured]
) -> dict[str, Any]:
    best = measured[winner.number]
    found: dict[str, Any] = {
        "winner": winner.number,
        "changes": dict(winner.changes),
        "validation_accuracy": winner.outcome.accuracy,
        "inflation": _inflation(trials),
        "test_accuracy": best.accuracy,
        "run": str(best.run.directory),
    }
    if 0 in measured:
        first = measured[0]
        found["as_written"] = {
            "validation_accuracy": first.trial.outcome.accuracy,
            "test_accuracy": first.accuracy,
        }
        mine, its = best.run.right_answers(), first.run.right_answers()
        found["gain"] = paired_interval(
            [mine[path] for path in its], list(its.values()), images=list(its)
        )
    return found


def _inflation(trials: Sequence[Trial]) -> float:
    whole = [each.outcome.right for each in trials if each.status == COMPLETED]
    rows = [[bit == "1" for part in right for bit in part] for right in whole if right]
    return inflation([np.array(row) for row in rows]) if rows else 0.0


def _best(tuning: Tuning, best: Measured, first: Measured | None, results: dict[str, Any]) -> str:
    request, trial = tuning.request, best.trial
    about = [
        f"The best of {results['trials']} trials of {request.recipe.name}.",
        f"    graft train {tuning.best}",
        *(line[0].upper() + line[1:] + "." for line in lines(results, tuning.directory)[:3]),
        f"What it changes: {trial.what}.",
    ]
    return to_code(best.run.recipe, about)
