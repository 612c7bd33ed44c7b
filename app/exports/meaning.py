"""What the logits of a model mean: class names, probabilities, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from app.data.sources import SEPARATOR
from app.evaluation.many_labels import THRESHOLD
from app.exports.request import TOP_K
from app.models import probabilities


@dataclass(frozen=True)
class Meaning:
    """How an export answers.

    Attributes:
        class_names: In the order of labels.
        many_labels: Whether an image carries any number of labels.
        temperature: Divides the logits (Guo et al. 2017, arXiv 1706.04599).
        unsure_below: Answers of a lower probability say that they are unsure; None for no such
            output.
        top_k: How many of the likeliest classes are listed, at most.
    """

    class_names: Sequence[str]
    many_labels: bool = False
    temperature: float = 1.0
    unsure_below: float | None = None
    top_k: int = TOP_K

    def shares(self, logits: tf.Tensor) -> tf.Tensor:
        """Returns the probability of every class, float32 `[batch, classes]`."""
        # Dividing by 1 would change nothing but the graph.
        calm = logits if self.temperature == 1 else logits / self.temperature
        return probabilities(calm, self.many_labels)

    def answers(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns all outputs of a signature that names classes."""
        return self._said(self.shares(logits))

    def answers_of_files(self, logits: tf.Tensor, errors: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the same, with `error`: rows that have one say nothing else.

        Args:
            logits: Of all files.
            errors: String `[batch]`, why a file could not be read; empty where it could.
        """
        readable = errors == ""
        said = self._said(tf.where(readable[:, None], self.shares(logits), 0.0))
        if "unsure" in said:
            said["unsure"] |= ~readable
        for name in ("label", "top_k_classes"):
            rows = readable if said[name].shape.rank == 1 else readable[:, None]
            said[name] = tf.where(rows, said[name], "")
        return {**said, "error": errors}

    def _said(self, shares: tf.Tensor) -> dict[str, tf.Tensor]:
        names = tf.constant(list(self.class_names))
        columns = tf.broadcast_to(names, [tf.shape(shares)[0], len(self.class_names)])
        likeliest = tf.gather(names, tf.argmax(shares, axis=1))
        best = tf.math.top_k(shares, min(self.top_k, len(self.class_names)))
        said = {
            "label": self._labels(names, shares) if self.many_labels else likeliest,
            "probabilities": shares,
            "classes": columns,
            "top_k_classes": tf.gather(names, best.indices),
            "top_k_probabilities": best.values,
        }
        if self.unsure_below is not None:
            said["unsure"] = self.sureness(shares) < self.unsure_below
        return said

    def sureness(self, shares: tf.Tensor) -> tf.Tensor:
        """Returns the probability of each answer; with many labels of its least sure yes or no."""
        if self.many_labels:
            return tf.reduce_min(tf.maximum(shares, 1 - shares), axis=1)
        return tf.reduce_max(shares, axis=1)

    def _labels(self, names: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
        """Joins the names of each row that are likely enough: string `[batch]`."""
        pieces = tf.where(shares >= THRESHOLD, tf.strings.join([SEPARATOR, names]), "")
        joined = tf.strings.reduce_join(pieces, axis=1)
        return tf.strings.regex_replace(joined, f"^{SEPARATOR}", "")
