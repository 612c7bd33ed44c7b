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
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    positions = np.arange(len(class_names))
    predicted = probabilities.argmax(axis=1)
    scores = precision_recall_fscore_support(labels, predicted, labels=positions, zero_division=0.0)
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
        "confusion": confusion_matrix(labels, predicted, labels=positions).tolist(),
    }
