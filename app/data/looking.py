"""One image file looked at: whether it can be read, how large it is, and its hash."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from app.data.reading import decode_image
from app.errors import decoding_reason


def look_at(path: Path) -> tuple[str, int, int] | str:
    """Reads and decodes a file. Decoding it whole is the only honest test.

    Returns:
        The SHA-256 of its bytes, and height and width as they are stored; or why it is no
        image.
    """
    try:
        str(path).encode()
        contents = path.read_bytes()
        height, width, _ = stored_shape()(tf.constant(contents)).numpy().tolist()
    except UnicodeEncodeError:
        return "its name is not UTF-8: rename it"
    except OSError as error:
        return error.strerror or str(error)
    except tf.errors.InvalidArgumentError as error:
        return "empty file" if not contents else decoding_reason(str(error.message))
    return hashlib.sha256(contents).hexdigest(), height, width


@functools.cache
def stored_shape() -> Callable[[tf.Tensor], tf.Tensor]:
    """Traced once; called as a `tf.function`, it would be traced anew in every thread."""

    def shape(contents: tf.Tensor) -> tf.Tensor:
        return tf.shape(decode_image(contents))

    traced: Callable[[tf.Tensor], tf.Tensor] = tf.function(shape).get_concrete_function(
        tf.TensorSpec([], tf.string)
    )
    return traced


def hash_of(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, or nothing if it is gone."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
