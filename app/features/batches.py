"""Batches of what crosses the frozen boundary, in place of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from app.data.batches import labels_of, positions_of, shuffled, steps_per_epoch
from app.data.index import Image, Index
from app.features.cutting import Cut
from app.features.rows import Rows

# Rows are held in memory while they fit in this, and else read from disk batch by batch.
MEMORY_BYTES = 1 << 30
# Batches that measure after every epoch are held as they are while they fit in this: starting a
# pipeline anew costs more than a small head's answers to all of them.
MEASURING_BYTES = 64 << 20


def training_rows(
    index: Index,
    views: Sequence[Rows],
    cut: Cut,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Returns the same batches as `training_batches`, as they cross the boundary.

    Args:
        index: Its `train` split is used.
        views: Of each view, the rows of those images in their order.
        cut: What the rows are of.
        batch_size: Images a batch.
        seed: Of the run.
        first_epoch: Counted from the start of the run.
        epochs: How many from there.
        first_step: Batches of the first epoch that are left out.

    Returns:
        Dataset of (one tensor, or a tuple of them, `[batch, ...]`, labels as there).
    """
    images = index.split("train")
    labels, count = labels_of(index, images), len(images)
    steps, gather = steps_per_epoch(count, batch_size), _gatherer(views, cut)

    def batch(step: tf.Tensor) -> tuple[Any, tf.Tensor]:
        epoch, order = shuffled(step, steps, count, seed)
        return gather(epoch % len(views), order), tf.gather(labels, order)

    first, end = first_epoch * steps + first_step, (first_epoch + epochs) * steps
    return tf.data.Dataset.range(first, end).map(batch, tf.data.AUTOTUNE).prefetch(2)


def measuring_rows(
    index: Index, images: Sequence[Image], rows: Rows, cut: Cut, batch_size: int
) -> tf.data.Dataset:
    """Returns the same batches as `measuring_batches`, as they cross the boundary.

    Args:
        index: Knows the labels.
        images: In the order in which they come.
        rows: Of each of them.
        cut: What the rows are of.
        batch_size: Images a batch.
    """
    labels, gather = labels_of(index, images), _gatherer([rows], cut)
    count, steps = len(images), steps_per_epoch(len(images), batch_size)

    def batch(step: tf.Tensor) -> tuple[Any, tf.Tensor]:
        positions = positions_of(step, steps, count)
        return gather(tf.constant(0, tf.int64), positions), tf.gather(labels, positions)

    batches = tf.data.Dataset.range(steps).map(batch, tf.data.AUTOTUNE)
    if count * cut.width * 4 <= MEASURING_BYTES:
        batches = batches.cache()
    return batches.prefetch(2)


def _gatherer(views: Sequence[Rows], cut: Cut) -> Any:
    """Returns what looks up rows in a graph: without Python, if they fit in memory."""
    count = len(views[0])
    if len(views) * count * cut.width * 2 <= MEMORY_BYTES:
        loaded = np.empty((len(views) * count, cut.width), np.float16)
        for view, rows in enumerate(views):
            loaded[view * count : (view + 1) * count] = rows.load()
        with tf.device("CPU"):  # where batches are made; a GPU's memory is for training
            held = tf.convert_to_tensor(loaded)
        return lambda view, order: _tensors(tf.gather(held, view * count + order), cut)

    def look_up(view: Any, order: Any) -> Any:
        return views[view].gather(order)

    def gather(view: tf.Tensor, order: tf.Tensor) -> Any:
        return _tensors(tf.numpy_function(look_up, [view, order], tf.float16, stateful=False), cut)

    return gather


def _tensors(rows: tf.Tensor, cut: Cut) -> Any:
    parts = tf.split(tf.reshape(rows, [-1, cut.width]), cut.widths, axis=1)
    tensors = tuple(
        tf.cast(tf.reshape(part, [-1, *shape]), tensor.dtype)
        for part, shape, tensor in zip(parts, cut.shapes, cut.above.inputs, strict=True)
    )
    return tensors if len(tensors) > 1 else tensors[0]
