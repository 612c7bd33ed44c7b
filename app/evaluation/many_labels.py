"""Metrics of a split whose images carry any number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.evaluation.intervals import share_with_interval

THRESHOLD = 0.5  # the probability from which a label is said to be there


def measure_many_labels(
    truth: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    class_names: Sequence[str],
    seed: int = 0,
) -> dict[str, Any]:
    """Measures the predictions of one split; a label is said from probability 0.5 on.

    Args:
        truth: `[n, labels]`, 1 where an image carries the label, else 0; n at least 1.
        probabilities: `[n, labels]`.
        class_names: Of the columns.
        seed: Of the bootstrap.

    Returns:
        What `metrics.json` holds of a split: `count`; `accuracy`, the share of images whose
        labels are all right and none too many (`value`, and `low` to `high`, its 95 %
        bootstrap interval); `hamming_loss`, the share of wrong answers among all, one an
        image and label; `loss` (mean cross-entropy of these answers, in nats); `macro_f1`;
        `mean_average_precision` over the labels that occur; precision, recall, F1, average
        precision (None where the label never occurs) and count of every label.
    """
    there, said = truth > 0.5, probabilities >= THRESHOLD
    right = probabilities.astype("float64")
    right = np.where(there, right, 1 - right)
    classes = {
        name: _scores(there[:, column], said[:, column], probabilities[:, column])
        for column, name in enumerate(class_names)
    }
    precisions = [of["average_precision"] for of in classes.values() if of["count"]]
    return {
        "count": len(there),
        "accuracy": share_with_interval((there == said).all(axis=1), seed),
        "hamming_loss": float((there != said).mean()),
        "loss": float(-np.log(np.clip(right, 1e-12, 1.0)).mean()),
        "macro_f1": float(np.mean([of["f1"] for of in classes.values()])),
        "mean_average_precision": float(np.mean(precisions)) if precisions else None,
        "classes": classes,
    }


def average_precision(there: NDArray[np.bool_], scores: NDArray[np.float32]) -> float:
    """Returns the precision at each threshold, weighed by the recall that it adds.

    Images of the same score pass a threshold together, and nothing is interpolated: the sum
    over thresholds of (R_n - R_n-1) P_n, as in Manning, Raghavan and Schuetze 2008,
    "Introduction to Information Retrieval", section 8.4.

    Args:
        there: `[n]`, at least one of them true.
        scores: `[n]`.
    """
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(there[order])
    last_of_score = np.append(np.diff(scores[order]) != 0, True)
    precision = (found / np.arange(1, len(found) + 1))[last_of_score]
    gained = np.diff(found[last_of_score], prepend=0)
    return float((gained * precision).sum() / found[-1])


def _scores(
    there: NDArray[np.bool_], said: NDArray[np.bool_], probabilities: NDArray[np.float32]
) -> dict[str, Any]:
    """A score is 0 where it would be a share of nothing, as for classes."""
    hits, count, claims = int((there & said).sum()), int(there.sum()), int(said.sum())
    return {
        "precision": hits / claims if claims else 0.0,
        "recall": hits / count if count else 0.0,
        "f1": 2 * hits / (count + claims) if hits else 0.0,
        "average_precision": average_precision(there, probabilities) if count else None,
        "count": count,
    }
