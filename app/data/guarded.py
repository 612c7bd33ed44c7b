"""Reading many files at once, in a graph, so that one bad file spoils none of the others.

TensorFlow has no way to catch an error within a graph but one: a data set that leaves out what
fails. Starting one costs half a millisecond as long as its function is small, and two hundred if
it holds the whole reading path. So it does nothing but decode: what comes before raises nothing,
and what comes after has an image to work on.
"""

from __future__ import annotations

import tensorflow as tf

from app.data.headers import TOO_LARGE, is_refused, refusal
from app.data.orientation import orientation
from app.data.reading import decoded, prepared, resize_image, upright, with_palette

# Files decoded at a time: all of their images are in memory together, as large as they come.
AT_ONCE = 4
DAMAGED = "The file is damaged or cut short."


def read_images(contents: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads files as `read_image` does, and says which ones it cannot.

    Args:
        contents: String `[count]`, any bytes.
        size: Side of the square results, in pixels.

    Returns:
        uint8 `[count, size, size, 3]`, black where a file could not be read; and a string
        `[count]`, why it could not, empty where it could.
    """
    with tf.device("/device:CPU:0"):
        return _read_images(contents, size)


def _read_images(contents: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    chunks = tf.maximum((tf.shape(contents)[0] + AT_ONCE - 1) // AT_ONCE, 1)
    pixels = tf.TensorArray(
        tf.uint8, chunks, infer_shape=False, element_shape=[None, size, size, 3]
    )
    errors = tf.TensorArray(tf.string, chunks, infer_shape=False, element_shape=[None])

    def step(at: tf.Tensor, pixels: tf.TensorArray, errors: tf.TensorArray) -> tuple[object, ...]:
        read, said = _read_chunk(contents[at * AT_ONCE : (at + 1) * AT_ONCE], size)
        return at + 1, pixels.write(at, read), errors.write(at, said)

    _, pixels, errors = tf.while_loop(
        lambda at, *_: at < chunks, step, (0, pixels, errors), parallel_iterations=1
    )
    read: tuple[tf.Tensor, tf.Tensor] = pixels.concat(), errors.concat()
    return read


def _read_chunk(contents: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    ready = tf.map_fn(prepared, contents)
    rows, images = _decode_those_that_can(ready)
    place = tf.fill(tf.shape(contents), -1)
    place = tf.tensor_scatter_nd_update(place, rows[:, None], tf.range(tf.size(rows)))

    def read(row: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        original, ready, at = row
        said = tf.where(is_refused(ready), refusal(ready), DAMAGED)
        found: tuple[tf.Tensor, tf.Tensor] = tf.cond(
            at >= 0,
            lambda: _finished(tf.io.parse_tensor(images[at], tf.uint8), original, ready, size),
            lambda: (tf.zeros([size, size, 3], tf.uint8), said),
        )
        return found

    signature = (tf.TensorSpec([size, size, 3], tf.uint8), tf.TensorSpec([], tf.string))
    read_all: tuple[tf.Tensor, tf.Tensor] = tf.map_fn(
        read, (contents, ready, place), fn_output_signature=signature
    )
    return read_all


def _decode_those_that_can(ready: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the rows that could be decoded, int32, and their images, each made a string."""

    def decode(row: tf.Tensor, contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return row, tf.io.serialize_tensor(decoded(contents))

    count = tf.size(ready)
    plain = tf.data.Options()
    plain.autotune.enabled = False
    plain.experimental_optimization.apply_default_optimizations = False
    found = tf.data.Dataset.from_tensor_slices((tf.range(count), ready))
    found = found.map(decode, num_parallel_calls=AT_ONCE).ignore_errors(log_warning=False)
    # One more than there are: a data set must not be empty to give an element.
    found = found.concatenate(tf.data.Dataset.from_tensors((count, "")))
    found = found.batch(tf.cast(count, tf.int64) + 1).with_options(plain)
    rows, images = found.get_single_element()
    return rows[:-1], images[:-1]


def _finished(
    image: tf.Tensor, original: tf.Tensor, prepared: tf.Tensor, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    image = tf.ensure_shape(image, [None, None, 3])

    def finish() -> tuple[tf.Tensor, tf.Tensor]:
        colours = tf.ensure_shape(with_palette(image, prepared), [None, None, 3])
        return resize_image(upright(colours, orientation(original)), size), tf.constant("")

    nothing = tf.zeros([size, size, 3], tf.uint8), tf.constant(TOO_LARGE)
    finished: tuple[tf.Tensor, tf.Tensor] = tf.cond(tf.size(image) > 0, finish, lambda: nothing)
    return finished
