"""What a search came to, as a table and in sentences. Standard library only."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.tuning.trials import Trial

_COLUMNS = ("trial", "status", "validation_accuracy", "validation_loss", "seconds", "said")


def to_csv(trials: Sequence[Trial]) -> str:
    """Writes the trials as CSV, a row each: what came of it, and every setting that was changed."""
    paths = sorted({path for trial in trials for path in trial.changes})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *paths])
    for each in trials:
        of = each.outcome
        writer.writerow(
            [each.number, of.status, of.accuracy, of.loss, of.seconds, of.said]
            + [each.changes.get(path, "") for path in paths]
        )
    return text.getvalue()


def lines(results: dict[str, Any], folder: Path) -> list[str]:
    """Says what a search came to, in sentences."""
    if results["winner"] is None:
        return [f"none of {results['trials']} trials was completed: trials.csv says why"]
    accuracy, low, high = results["test_accuracy"]
    number = results["winner"]
    said = [
        f"winner: trial {number} of {results['trials']}, validation accuracy"
        f" {results['validation_accuracy']:.3f}; choosing the best of so many flatters that by"
        f" about {100 * results['inflation']:.1f} points",
        f"on the test images: {accuracy:.3f} (95 % interval {low:.3f} to {high:.3f})",
    ]
    if number == 0:
        said.append("no trial did better than the recipe as written")
    elif "gain" in results:
        said.append(_gain(results))
    if number:
        said.append(f"the winner is a recipe: graft train {folder / 'best.py'}")
    return said


def _gain(results: dict[str, Any]) -> str:
    gain, low, high = (100 * each for each in results["gain"])
    written = results["as_written"]["test_accuracy"][0]
    said = f"the recipe as written: {written:.3f}; the winner is better by {gain:+z.1f} points"
    said += f" (95 % interval {low:+z.1f} to {high:+z.1f})"
    if low > 0:
        return said
    return said + (": it is worse" if high < 0 else ": no better, as far as these images can tell")
