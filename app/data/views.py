"""Views of images: read, or found in memory, and varied, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from app.data.augmentation import Augmenter
from app.data.index import Image
from app.data.kept import KeptImages
from app.data.reading import read_image


def view_batches(
    images: Sequence[Image],
    view: int,
    augmenter: Augmenter | None,
    image_size: int,
    batch_size: int,
    kept: KeptImages | None = None,
) -> tf.data.Dataset:
    """Returns one view of images, in the order given, once.

    Args:
        images: Any number.
        view: See `Augmenter`.
        augmenter: Varies the images; None leaves them as they are.
        image_size: Side in pixels.
        batch_size: Images a batch; the last one may have fewer.
        kept: Where images are found that were read before, if anywhere.

    Returns:
        Dataset of uint8 `[batch, size, size, 3]`.
    """
    files = tf.data.Dataset.from_tensor_slices(files_of(images)).batch(batch_size)
    held = kept is not None and not len(kept.missing([image.key for image in images]))

    def batch(paths: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        number = tf.constant(view, tf.int64)
        return read_and_vary(paths, keys, number, augmenter, image_size, kept, held)

    return files.map(batch, tf.data.AUTOTUNE).prefetch(2)


def read_and_vary(
    paths: tf.Tensor,
    keys: tf.Tensor,
    view: tf.Tensor,
    augmenter: Augmenter | None,
    image_size: int,
    kept: KeptImages | None = None,
    held: bool = False,
) -> tf.Tensor:
    """Reads one batch, and varies it in one call of Python, within a graph.

    Args:
        paths: Strings `[batch]`.
        keys: int64 `[batch]`, see `Image.key`.
        view: int64 scalar, see `Augmenter`.
        augmenter: None leaves the images as they are.
        image_size: Side in pixels.
        kept: Where images are found that were read before, if anywhere.
        held: Whether all images are found there. A pipeline that never reads starts at once;
            else the many operations for every format take 0.3 s each time it is started.

    Returns:
        uint8 `[batch, size, size, 3]`.
    """
    with tf.init_scope():
        read = _nothing(image_size) if held else reader(image_size)
    if kept is None and augmenter is None:
        return read(paths)
    missing = tf.range(0 if held else tf.size(paths, tf.int64), dtype=tf.int64)
    if kept is not None and not held:
        # Called twice it would do no harm: that an image is kept changes no pixel.
        missing = tf.numpy_function(kept.missing, [keys], tf.int64, stateful=False)
        missing.set_shape([None])

    def in_numpy(pixels: Any, missing: Any, keys: Any, view: Any) -> Any:
        images = pixels if kept is None else kept.complete(keys, missing, pixels)
        return np.stack(images) if augmenter is None else augmenter(images, view, keys)

    pixels = read(tf.gather(paths, missing))
    varied = tf.numpy_function(in_numpy, [pixels, missing, keys, view], tf.uint8, stateful=False)
    return tf.ensure_shape(varied, [None, image_size, image_size, 3])


def hold(kept: KeptImages, images: Sequence[Image], image_size: int, batch_size: int) -> bool:
    """Keeps all of some images, if there is room for them, and tells whether there is."""
    if not kept.has_room_for(images):
        return False
    missing = [images[place] for place in kept.missing([image.key for image in images])]
    for _ in view_batches(missing, 0, None, image_size, batch_size, kept) if missing else ():
        pass
    return True


def files_of(images: Sequence[Image]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns paths, strings `[images]`, and keys, int64 `[images]`, see `Image.key`."""
    paths = tf.constant([str(image.path) for image in images], tf.string)
    return paths, tf.constant([image.key for image in images], tf.int64)


def _nothing(image_size: int) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda paths: tf.zeros([0, image_size, image_size, 3], tf.uint8)


@cache
def reader(image_size: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Reads paths `[batch]`; traced once a process, since that takes most of a second."""
    spec = tf.TensorSpec([image_size, image_size, 3], tf.uint8)

    def read(path: tf.Tensor) -> tf.Tensor:
        return read_image(tf.io.read_file(path), image_size)

    def read_all(paths: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(read, paths, fn_output_signature=spec)

    traced: Callable[[tf.Tensor], tf.Tensor] = tf.function(
        read_all, autograph=False
    ).get_concrete_function(tf.TensorSpec([None], tf.string))
    return traced
