"""What the first bytes of an image file say: its format and its dimensions.

Everything is TensorFlow ops, so that the same checks run eagerly, in a data
pipeline and inside the exported SavedModel. No byte is read outside the file:
what lies behind the end reads as zero, and a header that makes no sense is
refused before a decoder sees it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

JPEG, PNG, GIF, BMP, WEBP, UNKNOWN = range(6)
FORMAT_NAMES = ("JPEG", "PNG", "GIF", "BMP", "WebP")

_REFUSED = b"\0refused: "
_NO_IMAGE = f"The bytes are no image of a known format ({', '.join(FORMAT_NAMES)})."
_NO_SIZE = "The header has no sensible dimensions."

MAX_PIXELS = 100_000_000
"""Images that say they are larger are refused: they would take over 1.5 GB to decode and resize."""
MAX_SIDE = 65_535
"""Likewise those of a longer side, which JPEG cannot have: resizing takes memory by the width."""
TOO_LONG = f"The image has a side of more than {MAX_SIDE} pixels; cut it before reading it."
TOO_LARGE = f"The image has more than {MAX_PIXELS} pixels; make it smaller before reading it."

# A photograph has about ten segments; a PNG of 30 MB, written in blocks of 8 kB, has 4,000.
# Files with more are walked no further, so that no file can hold a worker for long.
_MAX_SEGMENTS = 4096

Found = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def byte_length(contents: tf.Tensor) -> tf.Tensor:
    """Counts the bytes, as an int64 scalar: sums of places and lengths then cannot overflow."""
    return tf.cast(tf.strings.length(contents), tf.int64)


def numbers(
    contents: tf.Tensor, offset: tf.Tensor | int, width: int, count: int = 1, little: bool = False
) -> tf.Tensor:
    """Reads whole numbers that follow one another at a place in the file.

    Args:
        contents: Scalar string.
        offset: Where to begin, not negative; past the end everything reads as zero.
        width: Bytes of one number: 1, 2 or 4; all are unsigned.
        count: How many numbers to read.
        little: Whether the lowest byte comes first.

    Returns:
        int64 `[count]`.
    """
    length = count * width
    start = tf.minimum(tf.cast(offset, tf.int64), byte_length(contents))
    piece = tf.strings.substr(contents, start, tf.constant(length, tf.int64))
    dtype = {1: tf.uint8, 2: tf.uint16, 4: tf.int32}[width]
    values = tf.io.decode_raw(piece, dtype, little_endian=little, fixed_length=length)
    values = tf.cast(values, tf.int64)
    # There is no decoder for uint32, so that the sign is taken off again.
    return values & 0xFFFFFFFF if width == 4 else values


def number(
    contents: tf.Tensor, offset: tf.Tensor | int, width: int, little: bool = False
) -> tf.Tensor:
    """Reads one whole number, as `numbers` does: an int64 scalar."""
    return numbers(contents, offset, width, little=little)[0]


def require(condition: tf.Tensor, message: str | tf.Tensor, contents: tf.Tensor) -> tf.Tensor:
    """Hands on `contents` if the condition holds, so that nothing can overtake the check.

    Raises:
        InvalidArgumentError: If the condition is false, when the op runs; it says `message`.
    """
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.identity(contents)


def refuse(condition: tf.Tensor, message: str, contents: tf.Tensor) -> tf.Tensor:
    """Puts why a file cannot be read in the place of its bytes, if a condition does not hold.

    Nothing is raised, so that one file spoils nothing of others in its batch. The reason that
    came first stays.
    """
    return tf.where(condition | is_refused(contents), contents, _REFUSED + message.encode())


def is_refused(contents: tf.Tensor) -> tf.Tensor:
    """Tells whether `refuse` has put a reason in the place of the bytes: a bool scalar."""
    return tf.strings.substr(contents, 0, len(_REFUSED)) == _REFUSED


def refusal(contents: tf.Tensor) -> tf.Tensor:
    """Returns the reason that `refuse` gave, a string scalar; empty if there is none."""
    start = tf.minimum(tf.strings.length(contents), len(_REFUSED))
    reason = tf.strings.substr(contents, start, tf.strings.length(contents))
    return tf.where(is_refused(contents), reason, "")


def require_accepted(contents: tf.Tensor) -> tf.Tensor:
    """Hands on what was not refused.

    Raises:
        InvalidArgumentError: If it was; it says why.
    """
    return require(~is_refused(contents), refusal(contents), contents)


def image_format(contents: tf.Tensor) -> tf.Tensor:
    """Tells the format by the first bytes of the file.

    Args:
        contents: Scalar string, any bytes.

    Returns:
        int32 scalar: `JPEG`, `PNG`, `GIF`, `BMP`, `WEBP` or `UNKNOWN`.
    """
    head = numbers(contents, 0, 4, 3)
    word, second, third = head[0], head[1], head[2]
    matches = [
        word // 256 == 0xFFD8FF,
        (word == 0x89504E47) & (second == 0x0D0A1A0A),  # 89 "PNG", CR LF SUB LF
        word == 0x47494638,  # "GIF8"
        word // 65536 == 0x424D,  # "BM"
        (word == 0x52494646) & (third == 0x57454250),  # "RIFF", size, "WEBP"
        True,
    ]
    return tf.argmax(tf.stack(matches), output_type=tf.int32)


def is_jpeg(contents: tf.Tensor) -> tf.Tensor:
    """Tells whether the bytes begin as a JPEG file does, with as few ops as possible: bool."""
    return tf.strings.substr(contents, 0, 3) == b"\xff\xd8\xff"


def apart(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Makes a graph function of its own, which is not merged into the graph that calls it.

    The branch of a condition that is not taken still costs time for each of its ops, and the
    rare formats have hundreds: for a small photograph as much as decoding it. As a function
    apart they cost less than half of that.
    """
    compiled: Callable[..., tf.Tensor] = tf.function(
        function,
        autograph=False,
        reduce_retracing=True,
        experimental_attributes={"_noinline": True},
    )

    # Bytes of Python would be baked into a new graph for every file.
    return lambda *tensors: compiled(*map(tf.convert_to_tensor, tensors))


def by_format(
    contents: tf.Tensor, branches: Sequence[Callable[[tf.Tensor], tf.Tensor]]
) -> tf.Tensor:
    """Calls the branch that belongs to the format of the bytes, and only that one.

    Args:
        contents: Scalar string.
        branches: Functions of `contents` for JPEG, PNG, GIF, BMP, WebP and unknown bytes.
    """
    calls = [functools.partial(branch, contents) for branch in branches]
    return tf.switch_case(image_format(contents), calls)


def image_dimensions(contents: tf.Tensor) -> tf.Tensor:
    """Reads height and width from the header; nothing is decoded.

    Args:
        contents: Scalar string, the bytes of a JPEG, PNG, GIF, BMP or WebP file.

    Returns:
        int32 `[2]`, height and width as stored: before EXIF turns the image. Not limited by
        `MAX_PIXELS`.

    Raises:
        InvalidArgumentError: If the format is unknown or the header makes no sense.
    """
    found = tf.cond(is_jpeg(contents), lambda: jpeg_sides(contents), lambda: _other_sides(contents))
    found.set_shape([2])
    return tf.cast(found, tf.int32)


def walk(contents: tf.Tensor, start: int, segment: Callable[[tf.Tensor], Found]) -> tf.Tensor:
    """Goes from segment to segment of a file until one is what is looked for.

    Args:
        contents: Scalar string.
        start: Where the first segment begins.
        segment: Answers, for the place of a segment, where the next one begins (-1 for none),
            where in this one the contents looked for begin (-1 for none), and how long they are.

    Returns:
        int64 `[2]`: where they begin, -1 if they were not found, and their length.
    """
    size = byte_length(contents)
    none = tf.constant(-1, tf.int64)

    def goes_on(at: tf.Tensor, found: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        return (at >= 0) & (at < size) & (found < 0)

    def step(at: tf.Tensor, found: tf.Tensor, length: tf.Tensor) -> Found:
        return segment(at)

    state = (tf.constant(start, tf.int64), none, none)
    _, found, length = tf.while_loop(
        goes_on, step, state, parallel_iterations=1, maximum_iterations=_MAX_SEGMENTS
    )
    return tf.where(found >= 0, tf.stack([found, length]), none)


def refuse_by_header(contents: tf.Tensor) -> tf.Tensor:
    """Refuses what is no image of a known format, or promises too many pixels.

    Args:
        contents: Scalar string, any bytes but those of a JPEG file, whose header its decoder
            reads.
    """
    known, sides = image_format(contents) != UNKNOWN, _sides(contents)
    # Whatever the bytes are, a reason that begins in them is none.
    contents = tf.where(known, contents, _REFUSED + _NO_IMAGE.encode())
    contents = refuse(_are_sensible(sides), _NO_SIZE, contents)
    contents = refuse(tf.reduce_all(sides <= MAX_SIDE), TOO_LONG, contents)
    # Of two numbers of 31 bits each the product still fits into 64.
    return refuse(tf.reduce_prod(sides) <= MAX_PIXELS, TOO_LARGE, contents)


def jpeg_sides(contents: tf.Tensor) -> tf.Tensor:
    """Reads height and width of a JPEG file: int64 `[2]`."""
    return tf.cast(tf.image.extract_jpeg_shape(contents)[:2], tf.int64)


@apart
def _other_sides(contents: tf.Tensor) -> tf.Tensor:
    contents = require(image_format(contents) != UNKNOWN, _NO_IMAGE, contents)
    sides = _sides(contents)
    return require(_are_sensible(sides), _NO_SIZE, sides)


def _sides(contents: tf.Tensor) -> tf.Tensor:
    return by_format(contents, [_no_sides, _png, _gif, bmp_sides, _webp, _no_sides])


def _are_sensible(sides: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all((sides > 0) & (sides < 2**31))


def _no_sides(contents: tf.Tensor) -> tf.Tensor:
    return tf.zeros([2], tf.int64)


def _png(contents: tf.Tensor) -> tf.Tensor:
    return numbers(contents, 16, 4, 2)[::-1]


def _gif(contents: tf.Tensor) -> tf.Tensor:
    return numbers(contents, 6, 2, 2, little=True)[::-1]


def bmp_sides(contents: tf.Tensor) -> tf.Tensor:
    """Reads height and width of a BMP file: int64 `[2]`."""
    # A negative height means that the rows are stored from the top.
    width, height = tf.unstack(numbers(contents, 18, 4, 2, little=True))
    return tf.stack([tf.minimum(height, 2**32 - height), width])


def _webp(contents: tf.Tensor) -> tf.Tensor:
    """Source: RFC 9649, sections 2.5 to 2.7; 16 and 24 bits, or 14 bits behind a signature."""
    head = numbers(contents, 12, 1, 18)
    kind = head[3]
    extended = [_little(head[15:18]) + 1, _little(head[12:15]) + 1]
    lossy = [_little(head[16:18]) & 0x3FFF, _little(head[14:16]) & 0x3FFF]
    packed = _little(head[9:13])
    lossless = [((packed // 16384) & 0x3FFF) + 1, (packed & 0x3FFF) + 1]
    known = tf.reduce_all(head[:3] == [0x56, 0x50, 0x38])  # "VP8", then the kind
    shapes = [(0x58, extended), (0x20, lossy), (0x4C, lossless)]
    found = tf.add_n([tf.where(known & (kind == k), tf.stack(s), 0) for k, s in shapes])
    return tf.cast(found, tf.int64)


def _little(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values * [256**i for i in range(values.shape[0])])
