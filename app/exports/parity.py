"""Whether an export means what the model that was measured means, in numbers."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.evaluation.comparison import paired_interval
from app.evaluation.intervals import share_with_interval
from app.evaluation.many_labels import THRESHOLD

# What a coarser format may lose, as a share of the images.
MOST_LOSS = 0.01


@dataclass(frozen=True)
class Certificate:
    """How one format answers the validation images, beside Keras.

    Attributes:
        format: Its name.
        images: How many were asked.
        largest_difference: Of any probability.
        tolerance: What that may be; None of a coarser format, which may lose accuracy instead.
        agreement: Share of the images with the same answer.
        accuracy: `value`, and `low` to `high`, its 95 % interval.
        loss: Accuracy of Keras less its own, with the ends of the 95 % interval of the pairs.
        bytes: Size of its files.
        milliseconds: Median of one image, from pixels or, for the SavedModel, from the bytes of a
            file, on the machine that wrote it.
    """

    format: str
    images: int
    largest_difference: float
    tolerance: float | None
    agreement: float
    accuracy: dict[str, float]
    loss: tuple[float, float, float]
    bytes: int = 0
    milliseconds: float = 0.0

    @property
    def complaint(self) -> str:
        """Why it must not be handed on; empty if it may be."""
        if not math.isfinite(self.largest_difference):
            return "it answers what is no number"
        if self.tolerance is not None and not self.largest_difference <= self.tolerance:
            return (
                f"a probability differs by {self.largest_difference:.2g} from Keras's, and"
                f" {self.tolerance:g} is allowed"
            )
        if self.tolerance is None and self.loss[1] > MOST_LOSS:
            points = "{:.1f} points (95 % interval {:.1f} to {:.1f})".format(
                *(100 * each for each in self.loss)
            )
            return f"it loses {points} of accuracy, and {100 * MOST_LOSS:g} is allowed"
        return ""

    def to_plain(self) -> dict[str, Any]:
        """Returns it as JSON can hold it."""
        return asdict(self)


def certify(
    name: str,
    tolerance: float | None,
    reference: NDArray[np.float32],
    found: NDArray[np.float32],
    labels: NDArray[Any],
) -> Certificate:
    """Compares what a format answers with what Keras answered.

    Args:
        name: Of the format.
        tolerance: See `Certificate`.
        reference: Keras's probabilities, `[n, classes]`; n at least 1.
        found: The format's.
        labels: What is right, `[n]`, or `[n, classes]` of 0 and 1 where there are many.
    """
    ours, its = _answers(reference, labels), _answers(found, labels)
    right, was_right = right_answers(found, labels), right_answers(reference, labels)
    return Certificate(
        name,
        len(labels),
        float(np.abs(reference - found).max()),
        tolerance,
        float((ours == its).all(axis=1).mean()),
        share_with_interval(right, 0),
        paired_interval(was_right, right),
    )


def _answers(shares: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[Any]:
    return shares >= THRESHOLD if labels.ndim == 2 else shares.argmax(axis=1)[:, None]


def right_answers(shares: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Tells of each image whether it is answered rightly, with many labels in all of them.

    Args:
        shares: Probabilities, `[n, classes]`.
        labels: As for `certify`.
    """
    answers, truth = _answers(shares, labels), labels.reshape(len(labels), -1)
    found: NDArray[np.bool_] = (answers == truth.astype(answers.dtype)).all(axis=1)
    return found


def table(certificates: list[Certificate]) -> list[str]:
    """Writes certificates as the lines of a table."""
    lines = ["format           MB   ms an image  accuracy  same answers  largest difference"]
    for each in certificates:
        lines.append(
            f"{each.format:14}{each.bytes / 1e6:6.1f}{each.milliseconds:14.1f}"
            f"{each.accuracy['value']:10.3f}{100 * each.agreement:12.1f} %"
            f"{each.largest_difference:20.1e}"
        )
    return lines
