"""What a stage fits, and on what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

# Batches of some epochs, counted from the start of the run: first, how many, and steps of the
# first that are left out.
Batches = Callable[[int, int, int], tf.data.Dataset]


@dataclass(frozen=True)
class Learner:
    """All of a classifier and its images, or what lies above the frozen boundary and its input.

    Attributes:
        model: Is fitted, and gives logits; its weights are those of the classifier.
        training: Makes the training batches.
        validation: Batches that choose the best weights.
        whole_epochs: Whether all steps of an epoch run in TensorFlow without a return to
            Python between them, which costs more than a step of a small head.
    """

    model: keras.Model
    training: Batches
    validation: tf.data.Dataset
    whole_epochs: bool = False
