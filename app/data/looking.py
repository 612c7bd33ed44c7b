"""One image file looked at: whether it can be read, how large it is, and its hash."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.data.reading import decode_image, read_decoded
from app.errors import decoding_reason


@dataclass(frozen=True)
class Seen:
    """The images that were looked at, so that none has to be decoded again.

    Attributes:
        image_size: Side in pixels.
        pixels: uint8 `[size, size, 3]` by the SHA-256 of the file.
    """

    image_size: int
    pixels: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


def look_at(path: Path, seen: Seen | None = None) -> tuple[str, int, int] | str:
    """Reads and decodes a file. Decoding it whole is the only honest test.

    Args:
        path: The file.
        seen: Is given the image, too, as it is after reading.

    Returns:
        The SHA-256 of its bytes, and height and width as they are stored; or why it is no
        image.
    """
    try:
        str(path).encode()
        contents = path.read_bytes()
        look = looker(seen.image_size if seen else 0)
        shape, pixels = look(tf.constant(contents))
        height, width, _ = shape.numpy().tolist()
    except UnicodeEncodeError:
        return "its name is not UTF-8: rename it"
    except OSError as error:
        return error.strerror or str(error)
    except tf.errors.InvalidArgumentError as error:
        return "empty file" if not contents else decoding_reason(str(error.message))
    sha256 = hashlib.sha256(contents).hexdigest()
    if seen:
        seen.pixels[sha256] = pixels.numpy()
    return sha256, height, width


@functools.cache
def looker(image_size: int) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Traced once; called as a `tf.function`, it would be traced anew in every thread.

    Args:
        image_size: Side in pixels of what is given beside the shape; nothing is if 0.
    """

    def look(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        decoded = decode_image(contents)
        shown = read_decoded(decoded, contents, image_size) if image_size else tf.zeros([0])
        return tf.shape(decoded), shown

    traced: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]] = tf.function(
        look, autograph=False
    ).get_concrete_function(tf.TensorSpec([], tf.string))
    return traced


def hash_of(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, or nothing if it is gone."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
