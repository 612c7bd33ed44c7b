"""What a stage minimises, and by what all stages are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from app.recipe import Stage


@dataclass(frozen=True)
class Task:
    """What there is to be told apart.

    Attributes:
        class_counts: Training images of each class, in the order of the classes.
        image_count: Training images; with many labels they can be fewer than the labels.
        many_labels: Whether an image can belong to several classes, or to none.
    """

    class_counts: tuple[int, ...]
    image_count: int
    many_labels: bool = False

    @property
    def class_count(self) -> int:
        """How many classes there are."""
        return len(self.class_counts)

    @property
    def logits(self) -> int:
        """How many numbers the model gives: two classes with one label each share one."""
        return 1 if self.class_count == 2 and not self.many_labels else self.class_count


def build_loss(stage: Stage, task: Task) -> Callable[[Any, Any], Any]:
    """Returns what a stage minimises, image by image.

    With one label each of two classes, and with many labels, the model answers yes or no by
    sigmoids, and the loss is the mean over them; else it chooses among classes by a softmax.

    Returns:
        A function of labels and logits that gives `[batch]`. Labels are whole numbers, `[batch]`
        or `[batch, 1]`, or shares of each class, `[batch, classes]`. Logits are `[batch, 1]`,
        the log odds of the second of two classes, or `[batch, classes]`.
    """
    sigmoids = task.many_labels or task.logits == 1 or stage.loss == "sigmoid_cross_entropy"
    measure = (_OF_SIGMOIDS if sigmoids else _OF_SOFTMAX)[stage.loss]
    # Label smoothing (arXiv 1512.00567) spreads over classes, or over yes and no.
    spread = stage.label_smoothing / (2 if task.many_labels else task.class_count)

    def loss(labels: Any, logits: Any) -> Any:
        logits = ops.convert_to_tensor(logits)
        wanted = _targets(labels, task, logits.dtype)
        found = measure(wanted * (1 - stage.label_smoothing) + spread, logits, stage.focal_gamma)
        if stage.class_weights == "balanced":
            found = found * _balanced(wanted, task)
        return ops.mean(found, axis=-1)

    return loss


def build_metrics(task: Task) -> list[keras.metrics.Metric]:
    """Returns accuracy and cross-entropy, which mean the same in every stage.

    Of blended images the class with the largest share counts as right. With many labels
    accuracy is the share of right answers, yes from a probability of 0.5 on.
    """
    unsmoothed = build_loss(Stage(loss="cross_entropy"), task)

    def right(labels: Any, logits: Any) -> Any:
        logits = ops.convert_to_tensor(logits)
        wanted = _targets(labels, task, logits.dtype)
        if task.many_labels or task.logits == 1:
            found = ops.equal(logits > 0, wanted > 0.5)
        else:
            found = ops.equal(ops.argmax(logits, axis=-1), ops.argmax(wanted, axis=-1))[:, None]
        return ops.mean(ops.cast(found, logits.dtype), axis=-1)

    return [
        keras.metrics.MeanMetricWrapper(right, "accuracy"),
        keras.metrics.MeanMetricWrapper(unsmoothed, "cross_entropy"),
    ]


def _targets(labels: Any, task: Task, dtype: Any) -> Any:
    """Returns what each logit should say, `[batch, logits]`, from 0 to 1.

    The shape tells what labels are: Keras makes floats of whole numbers on the way to a loss.
    """
    labels = ops.convert_to_tensor(labels)
    if task.many_labels:
        return ops.cast(labels, dtype)
    if len(labels.shape) == 2 and labels.shape[-1] > 1:
        return ops.cast(labels[:, -task.logits :], dtype)
    if task.logits == 1:
        return ops.cast(ops.reshape(labels, [-1, 1]), dtype)
    whole = ops.cast(ops.reshape(labels, [-1]), "int32")
    return ops.one_hot(whole, task.class_count, dtype=dtype)


def _balanced(targets: Any, task: Task) -> Any:
    """Weighs images, or yes and no of each sigmoid, so that all classes weigh the same in all.

    With one label each class c of n_c images weighs n / (classes * n_c), scikit-learn's
    "balanced"; blended labels weigh the mean of their classes. With many labels the same is
    done for each class by itself: yes weighs n / (2 * n_yes) and no n / (2 * n_no). The mean
    weight over the training images is 1, so that a learning rate keeps its meaning.

    Returns:
        `[batch, 1]` or `[batch, classes]`.
    """
    counts = np.maximum(task.class_counts, 1)  # the weight of what never comes is never used
    if task.logits > 1 and not task.many_labels:
        weights = task.image_count / (task.class_count * counts)
        return ops.sum(targets * weights.astype("float32"), axis=-1, keepdims=True)
    yes = counts[-task.logits :]  # of two classes with one logit, the second
    no = np.maximum(task.image_count - yes, 1)
    of_yes, of_no = ((task.image_count / (2 * count)).astype("float32") for count in (yes, no))
    return targets * of_yes + (1 - targets) * of_no


def _sigmoid_cross_entropy(targets: Any, logits: Any, _: float) -> Any:
    return ops.binary_crossentropy(targets, logits, from_logits=True)


def _sigmoid_focal(targets: Any, logits: Any, gamma: float) -> Any:
    """Returns the focal loss (arXiv 1708.02002) of each sigmoid, without its alpha.

    Not Keras's: its gradient is no number where a right answer is sure and gamma below 1.
    """
    yes = ops.softplus(-logits) * ops.exp(-gamma * ops.softplus(logits))
    no = ops.softplus(logits) * ops.exp(-gamma * ops.softplus(-logits))
    return targets * yes + (1 - targets) * no


def _sigmoid_hinge(targets: Any, logits: Any, _: float) -> Any:
    # Keras takes the mean over the last axis: it is given one of length 1.
    return keras.losses.hinge(2 * targets[..., None] - 1, logits[..., None])


def _sigmoid_squared_error(targets: Any, logits: Any, _: float) -> Any:
    return ops.square(targets - ops.sigmoid(logits))


def _softmax_cross_entropy(targets: Any, logits: Any, _: float) -> Any:
    return keras.losses.categorical_crossentropy(targets, logits, from_logits=True)[:, None]


def _softmax_focal(targets: Any, logits: Any, gamma: float) -> Any:
    """Returns the focal loss of a softmax, without its alpha, `[batch, 1]`.

    Not Keras's: it clips probabilities, so that surely wrong answers have no gradient.
    """
    log_shares = ops.log_softmax(logits)
    # The power of an exact 0 would have no gradient that is a number.
    missing = ops.maximum(-ops.expm1(log_shares), keras.config.epsilon())
    return -ops.sum(targets * ops.power(missing, gamma) * log_shares, axis=-1, keepdims=True)


def _softmax_hinge(targets: Any, logits: Any, _: float) -> Any:
    """Returns by how much the best wrong class comes within 1 of the right one, `[batch, 1]`.

    It is the loss of Crammer and Singer (JMLR 2, 2001). Keras's compares with 0 too where all
    wrong logits are below it; it cannot once the smallest logit is 0.
    """
    return keras.losses.categorical_hinge(
        targets, logits - ops.min(logits, axis=-1, keepdims=True)
    )[:, None]


def _softmax_squared_error(targets: Any, logits: Any, _: float) -> Any:
    """Returns the Brier score, from 0 to 2, `[batch, 1]`."""
    return ops.sum(ops.square(targets - ops.softmax(logits)), axis=-1, keepdims=True)


_OF_SIGMOIDS = {
    "cross_entropy": _sigmoid_cross_entropy,
    "sigmoid_cross_entropy": _sigmoid_cross_entropy,
    "focal": _sigmoid_focal,
    "hinge": _sigmoid_hinge,
    "squared_error": _sigmoid_squared_error,
}
_OF_SOFTMAX = {
    "cross_entropy": _softmax_cross_entropy,
    "focal": _softmax_focal,
    "hinge": _softmax_hinge,
    "squared_error": _softmax_squared_error,
}
