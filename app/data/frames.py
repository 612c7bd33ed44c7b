"""Cuts an animation down to its first frame before TensorFlow's decoders see it."""

from __future__ import annotations

import functools

import tensorflow as tf

from app.data.headers import Found, byte_length, is_refused, number, numbers, refuse, walk

# A frame of 16 MB has that many blocks; hostile ones are smaller and would only cost time.
_MAX_GIF_BLOCKS = 1 << 16


def gif_first_frame(contents: tf.Tensor) -> tf.Tensor:
    """Cuts an animated GIF behind its first frame.

    TensorFlow decodes every frame even where only the first is asked for, and answers with the
    largest frame's dimensions: a small file could take any amount of memory.

    Args:
        contents: Scalar string, the bytes of a GIF file.

    Returns:
        Scalar string, a GIF file with one frame that covers the whole canvas. Refused if there
        is no whole frame, or if it covers a part of the canvas only (TensorFlow would shift and
        crop it).
    """
    flags = number(contents, 10, 1)
    palette = tf.where(
        flags >= 128, 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), flags & 7), 0
    )
    start, end = _gif_walk(contents, 13 + palette)
    contents = refuse(end > 0, "The GIF file has no complete frame.", contents)
    place = numbers(contents, start + 1, 2, 4, little=True)
    canvas = numbers(contents, 6, 2, 2, little=True)
    covers = tf.reduce_all(place == tf.concat([[0, 0], canvas], 0))
    message = "The first frame of the GIF file covers only a part of it; save it again as PNG."
    contents = refuse(covers, message, contents)
    frame = tf.strings.substr(contents, 0, tf.cast(end, tf.int32)) + b";"
    return tf.where(is_refused(contents), contents, frame)


def _gif_walk(contents: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds where the first frame's descriptor begins and its data ends; 0 if it does not end.

    Source: GIF89a specification, sections 15 and 17 to 26.
    """
    size = byte_length(contents)
    zero = tf.constant(0, tf.int64)

    def goes_on(at: tf.Tensor, inside: tf.Tensor, frame: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        return (at < size) & (end == 0)

    def step(at: tf.Tensor, inside: tf.Tensor, frame: tf.Tensor, end: tf.Tensor) -> list[tf.Tensor]:
        first = number(contents, at, 1)
        flags = number(contents, at + 9, 1)
        is_frame = ~inside & (first == 0x2C)
        is_extension = ~inside & (first == 0x21)
        ends = inside & (first == 0)
        palette = tf.where(flags >= 128, 3 * tf.bitwise.left_shift(zero + 2, flags & 7), zero)
        # Behind a descriptor come its palette and one byte of code size; behind an
        # extension's two bytes, at once its blocks: each a length and so many bytes.
        here = tf.where(is_frame, 11 + palette, tf.where(is_extension, zero + 2, first + 1))
        broken = ~inside & ~is_frame & ~is_extension
        following = tf.where(broken, size, at + here)
        frame = tf.where(is_frame, at, frame)
        end = tf.where(ends & (frame > 0), following, end)
        return [following, (inside & ~ends) | is_frame | is_extension, frame, end]

    state = [tf.cast(start, tf.int64), tf.constant(False), zero, zero]
    walked = tf.while_loop(
        goes_on, step, state, parallel_iterations=1, maximum_iterations=_MAX_GIF_BLOCKS
    )
    return walked[2], walked[3]


def webp_first_frame(contents: tf.Tensor) -> tf.Tensor:
    """Makes a still image of an animated WebP file's first frame.

    TensorFlow 2.21 writes past the end of its buffer when it decodes an animated WebP file and
    may take the whole process down, so that none must ever reach it. Source: RFC 9649, 2.7.

    Args:
        contents: Scalar string, the bytes of a WebP file.

    Returns:
        Scalar string, a WebP file that says it is still; still files as they are. Refused if an
        animation has no first frame, or one that covers a part of the canvas only.
    """
    animated = (number(contents, 12, 4) == 0x56503858) & (number(contents, 20, 1) & 2 > 0)
    return tf.cond(animated, lambda: _webp_still(contents), lambda: tf.identity(contents))


def _webp_still(contents: tf.Tensor) -> tf.Tensor:
    def chunk(at: tf.Tensor) -> Found:
        kind, length = tf.unstack(numbers(contents, at, 4, 2, little=True))
        found = tf.where(kind == 0x464D4E41, at + 8, -1)  # "ANMF"
        return at + 8 + length + (length & 1), found, length

    frame = walk(contents, 12, chunk)[0]
    size = byte_length(contents)
    message = "The animated WebP file has no complete frame."
    contents = refuse((frame >= 30) & (frame + 16 < size), message, contents)
    place = numbers(contents, tf.maximum(frame, 0), 1, 12)
    covers = tf.reduce_all(place == tf.concat([[0] * 6, numbers(contents, 24, 1, 6)], 0))
    message = "The first frame of the WebP file covers only a part of it; save it again as PNG."
    contents = refuse(covers, message, contents)
    still = functools.partial(_moved_ahead, contents, frame)
    return tf.cond(is_refused(contents), lambda: tf.identity(contents), still)


def _moved_ahead(contents: tf.Tensor, frame: tf.Tensor) -> tf.Tensor:
    # The frame's pixels move to the place behind the first chunk, whose flags say afterwards
    # that there may be alpha and nothing else; what they push away goes to the end, where
    # nobody looks, so that all lengths still hold.
    at = tf.cast(frame, tf.int32) + 16
    head, canvas = tf.strings.substr(contents, 0, 20), tf.strings.substr(contents, 21, 9)
    pixels = tf.strings.substr(contents, at, tf.strings.length(contents))
    rest = tf.strings.substr(contents, 30, at - 30)
    return head + b"\x10" + canvas + pixels + rest
