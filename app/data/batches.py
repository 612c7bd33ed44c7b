"""Batches of pixels and labels, addressed by index so that any one can be made again."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
import tensorflow as tf

from app.data.augmentation import Augmenter
from app.data.index import Image, Index
from app.data.kept import KeptImages
from app.data.mixing import Mixing
from app.data.views import files_of, hold, read_and_vary


def steps_per_epoch(count: int, batch_size: int, devices: int = 1) -> int:
    """Returns how many batches an epoch has.

    Their sizes differ by one image a device at most: a last batch of one or two would
    give BatchNorm no statistics to speak of, and some of several devices nothing to do.
    """
    return ceil((count // devices) / max(batch_size // devices, 1))


def positions_of(step: tf.Tensor, steps: int, count: int, devices: int = 1) -> tf.Tensor:
    """Returns which positions of an epoch a batch holds, int64 `[batch]`."""
    shares = count // devices
    return tf.range(step * shares // steps * devices, (step + 1) * shares // steps * devices)


def shuffled(
    step: tf.Tensor, steps: int, count: int, seed: int, devices: int = 1
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns which images a training batch holds; it follows from (seed, epoch) alone.

    Args:
        step: int64 scalar, counted from the start of the run.
        steps: An epoch, see `steps_per_epoch`.
        count: Images there are.
        seed: Of the run.
        devices: How many share a batch.

    Returns:
        The epoch that the step belongs to, and positions of images, int64 `[batch]`.
    """
    epoch, positions = step // steps, positions_of(step % steps, steps, count, devices)
    order = tf.random.experimental.index_shuffle(
        positions, seed=tf.stack([tf.constant(seed, tf.int64), epoch]), max_index=count - 1
    )
    return epoch, order


def training_batches(
    index: Index,
    augmenter: Augmenter,
    image_size: int,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    devices: int = 1,
    mixing: Mixing | None = None,
    first_step: int = 0,
    views: int = 0,
    kept: KeptImages | None = None,
) -> tf.data.Dataset:
    """Returns the shuffled, varied batches of some epochs, one after the other.

    The order of epoch e and the mixing of each batch follow from (seed, e) alone, and how an
    image is varied from (seed, view, its contents), so a run that starts again at a step sees
    what it would have seen.

    Args:
        index: Its `train` split is used.
        augmenter: Varies the images.
        image_size: Side in pixels.
        batch_size: Images a batch.
        seed: Of the run.
        first_epoch: Counted from the start of the run.
        epochs: How many from there.
        devices: How many share a batch. Each gets the same number of images, so up to
            `devices - 1` of them, others each time, sit out an epoch.
        mixing: Mixes the images of each batch, if given.
        first_step: Batches of the first epoch that are left out.
        views: Epochs walk through so many views of each image, the first of which is the
            image as it is; if 0, each epoch has a new varied one.
        kept: Where images are found that were read before; if None all are read each epoch.

    Returns:
        Dataset of (uint8 `[batch, size, size, 3]`, labels): int64 `[batch]`, or float32
        `[batch, classes]` if images are mixed or have many labels.
    """
    images = index.split("train")
    (paths, keys), labels = files_of(images), labels_of(index, images)
    count, steps = len(images), steps_per_epoch(len(images), batch_size, devices)
    held = kept is not None and not len(kept.missing(keys.numpy()))

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        epoch, order = shuffled(step, steps, count, seed, devices)
        view = epoch % views if views else epoch + 1
        files = tf.gather(paths, order), tf.gather(keys, order)
        pixels = read_and_vary(*files, view, augmenter, image_size, kept, held)
        return _mixed(mixing, pixels, tf.gather(labels, order), classes, epoch, step % steps)

    classes = len(index.class_names)
    first, end = first_epoch * steps + first_step, (first_epoch + epochs) * steps
    return tf.data.Dataset.range(first, end).map(batch, tf.data.AUTOTUNE).prefetch(2)


def _mixed(
    mixing: Mixing | None,
    pixels: tf.Tensor,
    labels: tf.Tensor,
    class_count: int,
    epoch: tf.Tensor,
    step: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    if mixing is None or not mixing.mixes:
        return pixels, labels

    def in_numpy(pixels: Any, labels: Any, epoch: Any, step: Any) -> tuple[Any, Any]:
        return mixing(pixels, labels, class_count, epoch, step)

    found, targets = tf.numpy_function(
        in_numpy, [pixels, labels, epoch, step], (tf.uint8, tf.float32), stateful=False
    )
    return tf.ensure_shape(found, pixels.shape), tf.ensure_shape(targets, [None, class_count])


def measuring_batches(
    index: Index,
    images: Sequence[Image],
    image_size: int,
    batch_size: int,
    devices: int = 1,
    kept: KeptImages | None = None,
) -> tf.data.Dataset:
    """Returns images as they are, in the order given, once.

    Args:
        index: Knows the labels, and whether an image carries many.
        images: In the order in which they come.
        image_size: Side in pixels.
        batch_size: Images a batch.
        devices: How many share a batch; up to `devices - 1` images at the end are left
            out, since Keras needs the same number for each.
        kept: Where images are found that were read before; if None all are read each time. If
            it has room for them all, those that are missing are read at once.

    Returns:
        Dataset of (uint8 `[batch, size, size, 3]`, int64 labels `[batch]`; or float32
        `[batch, classes]` of 0 and 1 where an image carries many).
    """
    (paths, keys), labels = files_of(images), labels_of(index, images)
    count, steps = len(images), steps_per_epoch(len(images), batch_size, devices)
    held = kept is not None and hold(kept, images, image_size, batch_size)
    as_it_is = tf.constant(0, tf.int64)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        at = positions_of(step, steps, count, devices)
        files = tf.gather(paths, at), tf.gather(keys, at)
        return read_and_vary(*files, as_it_is, None, image_size, kept, held), tf.gather(labels, at)

    return tf.data.Dataset.range(steps).map(batch, tf.data.AUTOTUNE).prefetch(2)


def labels_of(index: Index, images: Sequence[Image]) -> tf.Tensor:
    """Returns labels, int64 `[images]`, or float32 `[images, classes]` if an image has many."""
    positions = {name: label for label, name in enumerate(index.class_names)}
    if index.many_labels:
        labels = np.zeros([len(images), len(positions)], "float32")
        for row, image in zip(labels, images, strict=True):
            row[[positions[name] for name in image.class_names]] = 1
    else:
        labels = np.array([positions[image.class_name] for image in images], "int64")
    return tf.constant(labels)
