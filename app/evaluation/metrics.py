"""Metrics of a split, computed from probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.evaluation.intervals import share_with_interval
from app.evaluation.many_labels import measure_many_labels


def measure(
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    class_names: Sequence[str],
    seed: int = 0,
) -> dict[str, Any]:
    """Measures the predictions of one split.

    Args:
        labels: `[n]`, positions among the class names; n at least 1. Or `[n, classes]` of 0
            and 1 where an image carries any number of labels; `measure_many_labels` says
            what is measured then.
        probabilities: `[n, classes]`.
        class_names: Of the columns.
        seed: Of the bootstrap.

    Returns:
        What `metrics.json` holds of a split: `count`; `accuracy` (`value`, and `low` to
        `high`, its 95 % bootstrap interval); `loss` (cross-entropy in nats); `macro_f1`;
        precision, recall, F1 and count of every class; the confusion matrix, rows true
        and columns predicted.
    """
    if labels.ndim == 2:
        return measure_many_labels(labels, probabilities, class_names, seed)
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, len(class_names))
    scores = _scores(confusion)
    of_truth = probabilities[np.arange(len(labels)), labels].astype("float64")
    return {
        "count": len(labels),
        "accuracy": share_with_interval(labels == predicted, seed),
        "loss": float(-np.log(np.clip(of_truth, 1e-12, 1.0)).mean()),
        "macro_f1": float(scores[2].mean()),
        "classes": {
            name: {
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "count": int(count),
            }
            for name, precision, recall, f1, count in zip(class_names, *scores, strict=True)
        },
        "confusion": confusion.tolist(),
    }


def confusion_matrix(
    labels: NDArray[Any], predicted: NDArray[Any], class_count: int
) -> NDArray[np.int64]:
    """Counts the images of each class by what they were taken for.

    Here and not from scikit-learn, whose import takes a CPU second of every training.

    Args:
        labels: `[n]`, from 0.
        predicted: `[n]`, likewise.
        class_count: One more than the highest of them, or more.

    Returns:
        `[class_count, class_count]`, rows true and columns predicted.
    """
    pairs = labels.astype(np.int64) * class_count + predicted
    counts = np.bincount(pairs, minlength=class_count**2).astype(np.int64)
    return counts.reshape(class_count, class_count)


def _scores(confusion: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """Returns precision, recall, F1 and count of each class; 0 where nothing is divided by."""
    right, true, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    shares = [(right, said), (right, true), (2 * right, said + true)]
    return *(part / np.maximum(whole, 1) for part, whole in shares), true
