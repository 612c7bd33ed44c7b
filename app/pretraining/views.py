"""Batches of views: two of each image, made by the number of the step alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.data.augmentation import Augmenter
from app.data.generated import generate, generate_of_classes
from app.pretrain_recipe import Pretraining, generated_images
from app.pretraining.descriptors import Descriptors
from app.pretraining.instances import Instances

Batch = tuple[NDArray[np.uint8], NDArray[np.float32]]
# What numbers of generated images are moved by, so that none is varied as another image is.
_GENERATED_KEYS = 1 << 40


@dataclass(frozen=True)
class Views:
    """The way from a number of a step to what is learned from in it.

    Attributes:
        recipe: Says how many images, and how they are varied.
        size: Side of the views in pixels.
        instances: Images to tell apart, beside generated ones; None for those alone.
        descriptors: What is said of each view beside; None for nothing.
    """

    recipe: Pretraining
    size: int
    instances: Instances | None
    descriptors: Descriptors | None = None

    def batches(self, first: int, steps: int) -> tf.data.Dataset:
        """Returns the batches of some steps.

        Args:
            first: Counted from the start of pretraining.
            steps: How many.

        Returns:
            Dataset of uint8 `[rows, size, size, 3]` and float32 `[rows, width]`: the first views
            of all images and then their second ones, and their descriptors, or zeros of width 1
            where there is no such task; or, for classification, one view each and its class.
        """
        augmenter = Augmenter(self.recipe.augmentation, self.size, self.recipe.seed)
        width = self.descriptors.width if self.descriptors else 1

        def in_numpy(step: NDArray[np.int64]) -> Batch:
            if self.recipe.method == "classification":
                return self._named(int(step), augmenter)
            return self._paired(int(step), augmenter)

        kinds = [tf.uint8, tf.float32]

        def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # Of what has a state, TensorFlow would make none ahead while it is deterministic.
            pixels, labels = tf.numpy_function(in_numpy, [step], kinds, stateful=False)
            shape = [self.rows, self.size, self.size, 3]
            return tf.ensure_shape(pixels, shape), tf.ensure_shape(labels, [self.rows, width])

        return tf.data.Dataset.range(first, first + steps).map(batch, 2).prefetch(2)

    @property
    def rows(self) -> int:
        """Views a step."""
        count = self.recipe.data.batch_size
        return count if self.recipe.method == "classification" else 2 * count

    def _named(self, step: int, augmenter: Augmenter) -> Batch:
        count, seed = self.recipe.data.batch_size, self.recipe.seed
        random = np.random.default_rng([seed, step])
        # The same class comes with another number each time, and so as another image.
        numbers = step * count + np.arange(count)
        drawn = random.integers(0, self.recipe.classes, count)
        numbers = numbers * self.recipe.classes + drawn
        pixels, classes = generate_of_classes(
            numbers.tolist(), self.recipe.classes, self.size, seed
        )
        return augmenter(pixels, 1, numbers), classes[:, None].astype(np.float32)

    def _paired(self, step: int, augmenter: Augmenter) -> Batch:
        count, seed = self.recipe.data.batch_size, self.recipe.seed
        made = generated_images(self.recipe.data) if self.instances else count
        images: list[NDArray[np.uint8]] = []
        keys: list[int] = []
        epochs: list[int] = []
        if self.instances is not None:
            epoch, numbers = _numbers(step, count - made, self.instances.count, seed)
            images.extend(self.instances.images(numbers))
            keys += self.instances.keys(numbers)
            epochs += [epoch] * len(numbers)
        if made:
            numbers = step * made + np.arange(made)
            images.extend(generate(numbers.tolist(), self.size, seed))
            keys += (numbers + _GENERATED_KEYS).tolist()
            epochs += [0] * made
        views = [
            augmenter([image], 2 * epoch + view, [key])
            for view in (1, 2)
            for image, key, epoch in zip(images, keys, epochs, strict=True)
        ]
        pixels = np.concatenate(views)
        wanted = self.descriptors(pixels) if self.descriptors else np.zeros((2 * count, 1))
        return pixels, wanted.astype(np.float32)


def _numbers(step: int, count: int, of: int | None, seed: int) -> tuple[int, NDArray[np.int64]]:
    """Returns the epoch of a step, and its images by number: each at most once an epoch.

    What does not fill a batch at the end of an epoch waits for another: an image that came twice
    would be told apart from itself.
    """
    if of is None:
        return 0, step * count + np.arange(count)
    epoch, batch = divmod(step, of // count)
    return epoch, _order(epoch, of, seed)[batch * count : (batch + 1) * count]


@lru_cache(maxsize=4)
def _order(epoch: int, count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)
