"""Metrics as text for a terminal. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_COLUMNS = 12  # of a confusion matrix that a terminal can show


def split_line(measured: Mapping[str, Any]) -> str:
    """Says in one line how good a model is on a split."""
    accuracy, average = measured["accuracy"], measured.get("mean_average_precision")
    parts = [
        f"{'accuracy' if 'confusion' in measured else 'all labels right'} {accuracy['value']:.4f} "
        f"(95 % interval {accuracy['low']:.4f} to {accuracy['high']:.4f})",
        f"macro F1 {measured['macro_f1']:.4f}",
    ]
    if average is not None:
        parts.append(f"mean average precision {average:.4f}")
    if "hamming_loss" in measured:
        parts.append(f"Hamming loss {measured['hamming_loss']:.4f}")
    return ", ".join([*parts, f"{measured['count']} images"])


def class_table(classes: Mapping[str, Mapping[str, float]]) -> str:
    """Lays out precision, recall, F1 and number of images of each class."""
    width = max(map(len, ("class", *classes)))
    rows = [f"{'class':{width}}  precision  recall     F1  images"]
    for name, of in classes.items():
        rows.append(f"{name:{width}}  {_scores(of)}  {of['count']:6d}")
    return "\n".join(rows)


def label_table(labels: Mapping[str, Mapping[str, Any]]) -> str:
    """Lays out the same of each label, and its average precision: `-` if it never occurs."""
    width = max(map(len, ("label", *labels)))
    rows = [f"{'label':{width}}  precision  recall     F1  average precision  images"]
    for name, of in labels.items():
        average = of["average_precision"]
        shown = "-" if average is None else f"{average:.3f}"
        rows.append(f"{name:{width}}  {_scores(of)}  {shown:>17}  {of['count']:6d}")
    return "\n".join(rows)


def _scores(of: Mapping[str, float]) -> str:
    return f"{of['precision']:9.3f}  {of['recall']:6.3f}  {of['f1']:5.3f}"


def confusion_table(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Lays out small matrices whole; of larger ones the commonest mistakes say more."""
    if len(names) > MOST_COLUMNS:
        mistakes = sorted(
            (-count, true, predicted)
            for true, row in zip(names, matrix, strict=True)
            for predicted, count in zip(names, row, strict=True)
            if count and true != predicted
        )[:MOST_COLUMNS]
        rows = [f"{-count:5d}  {true} taken for {predicted}" for count, true, predicted in mistakes]
        return "\n".join(["commonest mistakes:", *rows])
    width = max(map(len, names))
    rows = ["".join(f"{count:>{max(width, 5) + 2}}" for count in row) for row in matrix]
    header = " " * width + "".join(f"{name:>{max(width, 5) + 2}}" for name in names)
    lines = [f"{name:{width}}{row}" for name, row in zip(names, rows, strict=True)]
    return "\n".join(["confusion, rows true and columns predicted:", header, *lines])
