"""From the bytes of an image file to upright, square pixels: the one reading path.

Training, evaluation, the exported SavedModel and prediction all call
`read_image`, so that an image cannot mean two things. It consists of
TensorFlow ops alone and answers the same bytes with the same pixels everywhere.
"""

from __future__ import annotations

import tensorflow as tf

from app.data.frames import gif_first_frame, webp_first_frame
from app.data.headers import (
    BMP,
    MAX_PIXELS,
    TOO_LARGE,
    apart,
    bmp_sides,
    by_format,
    image_dimensions,
    image_format,
    is_jpeg,
    is_refused,
    jpeg_sides,
    number,
    numbers,
    refuse,
    refuse_by_header,
    require,
    require_accepted,
)
from app.data.orientation import orientation

__all__ = [
    "MAX_PIXELS",
    "decode_image",
    "image_dimensions",
    "orientation",
    "read_decoded",
    "read_image",
    "resize_image",
    "upright",
]


def read_image(contents: tf.Tensor, size: int) -> tf.Tensor:
    """Decodes one image upright and resizes it; its sides are stretched to a square.

    Args:
        contents: Scalar string, the bytes of a JPEG, PNG, GIF, BMP or WebP file.
        size: Side of the square result, in pixels.

    Returns:
        uint8 `[size, size, 3]`, RGB.

    Raises:
        InvalidArgumentError: If the bytes are no image of a known format, cannot be decoded
            with the right colours, or hold more than `MAX_PIXELS` pixels.
    """
    # Decoders have no GPU kernels. Where a GPU is present, the small numbers between
    # them would otherwise travel to it and back, and pixels could differ between machines.
    with tf.device("/device:CPU:0"):
        return read_decoded(decode_image(contents), contents, size)


def read_decoded(image: tf.Tensor, contents: tf.Tensor, size: int) -> tf.Tensor:
    """Does the rest of `read_image`, for who needs the image as it is stored, too.

    Args:
        image: What `decode_image` gave.
        contents: The bytes that it was given.
        size: Side of the square result, in pixels.

    Returns:
        uint8 `[size, size, 3]`, RGB.
    """
    with tf.device("/device:CPU:0"):
        # Resizing the smaller of two copies would be quicker, but does not commute exactly
        # with turning: up to one level in 0.05 % of the pixels. So it is turned first.
        # One after the other: if both ran at once and decoding failed, the error could be that
        # of the other one, `CancelledError`, instead of what is wrong with the image.
        with tf.control_dependencies([image]):
            contents = tf.identity(contents)
        return resize_image(upright(image, orientation(contents)), size)


def decode_image(contents: tf.Tensor) -> tf.Tensor:
    """Decodes an image as it is stored, not yet turned upright.

    JPEG is decoded with the accurate integer transform, equal to Pillow's. An animation gives
    its first frame. 16 bits are cut to their upper 8. Alpha is dropped: what was hidden shows
    its colour, in GIF black.

    Args:
        contents: Scalar string, the bytes of a JPEG, PNG, GIF, BMP or WebP file.

    Returns:
        uint8 `[height, width, 3]`, RGB.

    Raises:
        InvalidArgumentError: As for `read_image`.
    """
    image = tf.cond(
        is_jpeg(contents), lambda: _decode_jpeg(contents), lambda: _decode_other(contents)
    )
    image.set_shape([None, None, 3])
    return require(tf.size(image) > 0, TOO_LARGE, image)


def prepared(contents: tf.Tensor) -> tf.Tensor:
    """Makes of a file what its decoder reads rightly, or refuses it; raises nothing.

    Args:
        contents: Scalar string, any bytes.
    """
    return tf.cond(
        is_jpeg(contents), lambda: tf.identity(contents), lambda: _prepared_other(contents)
    )


def decoded(contents: tf.Tensor) -> tf.Tensor:
    """Decodes what `prepared` gave, with as few ops as possible.

    Returns:
        uint8 `[height, width, 3]`, for `with_palette`; `[0, 0, 3]` of a JPEG file that promises
        more than `MAX_PIXELS`.

    Raises:
        InvalidArgumentError: If it was refused, or cannot be decoded.
    """
    return by_format(contents, [_decode_jpeg, *_DECODERS])


def with_palette(image: tf.Tensor, contents: tf.Tensor) -> tf.Tensor:
    """Looks up the colours of a BMP file of 8 bits, which TensorFlow does not.

    Args:
        image: What `decoded` gave.
        contents: What it was given.
    """
    has_palette = (image_format(contents) == BMP) & (number(contents, 28, 2, little=True) == 8)
    return tf.cond(has_palette, lambda: _by_palette(contents, image), lambda: image)


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors an image as EXIF asks for.

    Args:
        image: `[height, width, channels]`, as stored.
        orientation: int32 scalar from 1 to 8; 1 changes nothing. Source: EXIF 2.32, tag 0x0112.

    Returns:
        The upright image; 5 to 8 exchange height and width.
    """
    result = tf.cond(orientation > 1, lambda: _turned(image, orientation), lambda: image)
    result.set_shape([None, None, image.shape[-1]])
    return result


@apart
def _turned(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    swapped = tf.transpose(image, tf.where(orientation >= 5, [1, 0, 2], [0, 1, 2]))
    from_below = (orientation == 3) | (orientation == 4) | (orientation >= 7)
    from_right = tf.reduce_any(orientation == [2, 3, 6, 7])
    return tf.reverse(swapped, tf.boolean_mask([0, 1], tf.stack([from_below, from_right])))


def resize_image(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes to a square with a triangle filter as wide as the reduction asks for.

    With `antialias=True` it stays within one level of Pillow's `BILINEAR`; without it,
    it would be up to 38 levels off.

    Args:
        image: uint8 `[height, width, 3]`, or a batch `[count, height, width, 3]`.
        size: Side of the square result, in pixels.

    Returns:
        uint8 `[size, size, 3]`, or a batch of them.
    """
    images = image if image.shape.rank == 4 else image[None]
    # The kernel takes rows three times as quickly as columns, so that columns are made rows too.
    # It does the same sums in the same order that way: the pixels are the same, bit by bit.
    rows = _resize_rows(images, size)
    # As whole numbers: floats go to oneDNN, which wakes every thread for each small image.
    turned = tf.transpose(tf.bitcast(rows, tf.uint32), [0, 2, 1, 3])
    levels = tf.round(_resize_rows(tf.bitcast(turned, tf.float32), size))
    # Weighted means of bytes are bytes again, once they are rounded.
    resized = tf.transpose(tf.cast(levels, tf.uint8), [0, 2, 1, 3])
    resized.set_shape([None, size, size, 3])
    return resized if image.shape.rank == 4 else resized[0]


def _resize_rows(images: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes along the height alone; float32 `[count, size, width, 3]`."""
    count, height, width = tf.unstack(tf.shape(images)[:3])
    lines = tf.reshape(images, [count, height, 1, width * 3])
    resized = tf.image.resize(lines, [size, 1], method="bilinear", antialias=True)
    return tf.reshape(resized, [count, size, width, 3])


def _decode_jpeg(contents: tf.Tensor) -> tf.Tensor:
    small_enough = tf.reduce_prod(jpeg_sides(contents)) <= MAX_PIXELS
    return tf.cond(
        small_enough,
        lambda: tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.zeros([0, 0, 3], tf.uint8),
    )


@apart
def _decode_other(contents: tf.Tensor) -> tf.Tensor:
    contents = require_accepted(_prepared_other(contents))
    # No JPEG file comes here, and none that is unknown.
    image = by_format(contents, [_decode_png, *_DECODERS])
    return with_palette(image, contents)


@apart
def _prepared_other(contents: tf.Tensor) -> tf.Tensor:
    accepted = refuse_by_header(contents)
    preparing = [tf.identity, tf.identity, gif_first_frame, _bmp_pixels, webp_first_frame]
    return by_format(accepted, [*preparing, tf.identity])


def _decode_png(contents: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_png(contents, channels=3)


def _decode_gif(contents: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_gif(contents)[0]


def _decode_bmp(contents: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_bmp(contents, channels=3)


def _decode_webp(contents: tf.Tensor) -> tf.Tensor:
    # TensorFlow refuses to drop the alpha of a WebP file by itself.
    return tf.io.decode_image(contents, channels=0, expand_animations=False)[..., :3]


# In the order of formats. The last is for unknown bytes, which it cannot decode either.
_DECODERS = (_decode_png, _decode_gif, _decode_bmp, _decode_webp, _decode_png)


def _bmp_pixels(contents: tf.Tensor) -> tf.Tensor:
    """Accepts 24 and 32 bits in true colour, and 8 bits by their palette.

    TensorFlow looks at neither palette nor compression and would answer with wrong colours.
    Source: Microsoft, `BITMAPINFOHEADER` and `BITMAPV5HEADER`.
    """
    start, header = tf.unstack(numbers(contents, 10, 4, 2, little=True))
    bits = number(contents, 28, 2, little=True)
    compression = number(contents, 30, 4, little=True)
    masks = numbers(contents, 54, 4, 3, little=True)
    usual_masks = tf.reduce_all(masks == [0xFF0000, 0xFF00, 0xFF])
    plain = (compression == 0) & ((bits == 8) | (bits == 24) | (bits == 32))
    masked = ((compression == 3) | (compression == 6)) & (bits == 32) & usual_masks
    message = "Only uncompressed BMP with 8, 24 or 32 bits can be read; save it again as PNG."
    contents = refuse((header >= 40) & (start > 0) & (plain | masked), message, contents)
    # TensorFlow insists on a file without one byte behind its pixels.
    height, width = tf.unstack(tf.cast(bmp_sides(contents), tf.int64))
    end = start + height * ((width * bits // 8 + 3) // 4 * 4)
    cut = tf.strings.substr(contents, tf.zeros_like(end), end)
    return tf.where(is_refused(contents), contents, cut)


def _by_palette(contents: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    header = number(contents, 14, 4, little=True)
    used = number(contents, 46, 4, little=True)
    count = tf.where((used > 0) & (used < 256), used, 256)
    # Blue, green, red and a spare byte; indices behind the palette are black, as in Pillow.
    palette = tf.reshape(numbers(contents, 14 + header, 1, 1024), [256, 4])[:, 2::-1]
    palette = tf.where(tf.range(256, dtype=tf.int64)[:, None] < count, palette, 0)
    return tf.gather(tf.cast(palette, tf.uint8), tf.cast(indices[..., 0], tf.int32))
