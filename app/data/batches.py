"""Batches of pixels and labels, addressed by index so that any one can be made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import numpy as np
import tensorflow as tf

from app.data.augmentation import Augmenter
from app.data.index import Image, Index
from app.data.mixing import Mixing
from app.data.reading import read_image

# Images that are read again each epoch are kept, decoded, while they fit in this.
CACHE_BYTES = 1 << 30


def steps_per_epoch(count: int, batch_size: int, devices: int = 1) -> int:
    """Returns how many batches an epoch has.

    Their sizes differ by one image a device at most: a last batch of one or two would
    give BatchNorm no statistics to speak of, and some of several devices nothing to do.
    """
    return ceil((count // devices) / max(batch_size // devices, 1))


def _positions(step: tf.Tensor, steps: int, count: int, devices: int = 1) -> tf.Tensor:
    """Returns which positions of an epoch a batch holds, int64 `[batch]`."""
    shares = count // devices
    return tf.range(step * shares // steps * devices, (step + 1) * shares // steps * devices)


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
) -> tf.data.Dataset:
    """Returns the shuffled, varied batches of some epochs, one after the other.

    The order of epoch e, the variation of each image and the mixing of each batch follow
    from (seed, e) alone, so a run that starts again at a step sees what it would have seen.

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

    Returns:
        Dataset of (uint8 `[batch, size, size, 3]`, labels): int64 `[batch]`, or float32
        `[batch, classes]` if images are mixed or have many labels.
    """
    images = index.split("train")
    paths, labels = _columns(index, images)
    count, steps = len(images), steps_per_epoch(len(images), batch_size, devices)

    def read(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        epoch, positions = step // steps, _positions(step % steps, steps, count, devices)
        order = tf.random.experimental.index_shuffle(
            positions, seed=tf.stack([tf.constant(seed, tf.int64), epoch]), max_index=count - 1
        )
        return (
            _read_all(tf.gather(paths, order), image_size),
            tf.gather(labels, order),
            epoch,
            step % steps,
            order,
        )

    vary = _varying(augmenter, mixing, len(index.class_names))
    first, end = first_epoch * steps + first_step, (first_epoch + epochs) * steps
    batches = tf.data.Dataset.range(first, end).map(read, tf.data.AUTOTUNE)
    return batches.map(vary, tf.data.AUTOTUNE).prefetch(2)


def _varying(
    augmenter: Augmenter, mixing: Mixing | None, class_count: int
) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """Returns what varies and mixes a batch: one call of Python, however much it does."""

    def in_numpy(pixels: Any, labels: Any, epoch: Any, step: Any, order: Any) -> tuple[Any, Any]:
        varied = augmenter(pixels, epoch, order)
        if mixing is None:
            return varied, labels
        return mixing(varied, labels, class_count, epoch, step)

    def vary(pixels: tf.Tensor, labels: tf.Tensor, *rest: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        kind = labels.dtype if mixing is None else tf.float32
        shape = labels.shape if mixing is None else [None, class_count]
        found, targets = tf.numpy_function(
            in_numpy, [pixels, labels, *rest], (tf.uint8, kind), stateful=False
        )
        return tf.ensure_shape(found, pixels.shape), tf.ensure_shape(targets, shape)

    return vary


def measuring_batches(
    index: Index,
    images: Sequence[Image],
    image_size: int,
    batch_size: int,
    devices: int = 1,
) -> tf.data.Dataset:
    """Returns images as they are, in the order given, once.

    They are kept in memory after the first pass, if they fit in `CACHE_BYTES`.

    Args:
        index: Knows the labels, and whether an image carries many.
        images: In the order in which they come.
        image_size: Side in pixels.
        batch_size: Images a batch.
        devices: How many share a batch; up to `devices - 1` images at the end are left
            out, since Keras needs the same number for each.

    Returns:
        Dataset of (uint8 `[batch, size, size, 3]`, int64 labels `[batch]`; or float32
        `[batch, classes]` of 0 and 1 where an image carries many).
    """
    paths, labels = _columns(index, images)
    count, steps = len(images), steps_per_epoch(len(images), batch_size, devices)

    def read(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        positions = _positions(step, steps, count, devices)
        return _read_all(tf.gather(paths, positions), image_size), tf.gather(labels, positions)

    batches = tf.data.Dataset.range(steps).map(read, tf.data.AUTOTUNE)
    if len(images) * image_size * image_size * 3 <= CACHE_BYTES:
        batches = batches.cache()
    return batches.prefetch(2)


def _columns(index: Index, images: Sequence[Image]) -> tuple[tf.Tensor, tf.Tensor]:
    positions = {name: label for label, name in enumerate(index.class_names)}
    if index.many_labels:
        labels = np.zeros([len(images), len(positions)], "float32")
        for row, image in zip(labels, images, strict=True):
            row[[positions[name] for name in image.class_names]] = 1
    else:
        labels = np.array([positions[image.class_name] for image in images], "int64")
    return tf.constant([str(image.path) for image in images], tf.string), tf.constant(labels)


def _read_all(paths: tf.Tensor, image_size: int) -> tf.Tensor:
    spec = tf.TensorSpec([image_size, image_size, 3], tf.uint8)
    return tf.map_fn(
        lambda path: read_image(tf.io.read_file(path), image_size), paths, fn_output_signature=spec
    )
