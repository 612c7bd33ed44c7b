"""From a trained model to a SavedModel that answers image bytes with class names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from app.data.guarded import read_images
from app.data.reading import read_image, resize_image
from app.exports.explanation import heat, with_last_map
from app.exports.meaning import Meaning
from app.exports.signatures import EXAMPLE_KEY


def write_saved_model(model: keras.Model, meaning: Meaning, folder: Path) -> None:
    """Writes a SavedModel; needs only TensorFlow to load.

    Signatures:

    - `serving_default`: `image_bytes`, string `[batch]`, encoded images of any format and
      size, read by the one reading path. A file that cannot be read says so in its row of
      `error`, and spoils no other.
    - `pixels`: `pixels`, uint8 `[batch, height, width, 3]`, RGB, upright, any size;
    - `features`: `image_bytes`, as above, answered with `features`, float32 `[batch, n]`, what
      the last layer reads, and `error`;
    - `classify`: `inputs`, string `[batch]`, each a serialised `tf.train.Example` with the
      bytes of an image as `image_bytes`, answered with `classes` and `scores`, as TensorFlow
      Serving's Classification API wants them;
    - `explain`: `image_bytes`, as above, and `class_index`, int32 `[batch]`, -1 for the likeliest
      class; answered with `heat`, float32 `[batch, rows, columns]` of 0 to 1, how much each place
      of the image speaks for that class, its name as `label`, and `error`. A network without
      feature maps has no such signature;
    - `read`: `image_bytes`, one scalar string, answered with `pixels`, uint8
      `[size, size, 3]`, for the signature `pixels` as they are.

    The first two answer with `label` (string `[batch]`, the likeliest class; or, with many
    labels, all from probability 0.5 on with `;` between them, perhaps none), `probabilities`
    (float32 `[batch, classes]`), `classes` (string `[batch, classes]`, the name of each column),
    `top_k_classes` and `top_k_probabilities` (`[batch, k]`, the likeliest first), and, if
    that is asked for, `unsure` (bool `[batch]`).

    Args:
        model: Pixels in, logits out.
        meaning: Of the logits.
        folder: Is made, or filled.

    Raises:
        OSError: If it cannot be written.
    """
    size = int(model.input.shape[1])
    # Traced once, and called by all signatures that read files.
    reading = tf.function(lambda files: read_images(files, size), autograph=False)
    both = keras.Model(model.input, [model.get_layer("logits").input, model.output])
    # So is the network, by most; `explain` needs its gradients.
    network = tf.function(
        lambda pixels: both(pixels, training=False),
        [tf.TensorSpec([None, size, size, 3], tf.uint8)],
        autograph=False,
    )

    def answer_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, errors = reading(image_bytes)
        return meaning.answers_of_files(network(pixels)[1], errors)

    def answer_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        # Resizing would leave pixels of the right size as they are, and take its time for it.
        fitting = tf.reduce_all(tf.shape(pixels)[1:3] == size)
        as_is = functools.partial(tf.ensure_shape, pixels, [None, size, size, 3])
        fitted = tf.cond(fitting, as_is, lambda: resize_image(pixels, size))
        # Not through `network`: what folds this signature wants all of it in one graph.
        return meaning.answers(model(fitted, training=False))

    def features(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, errors = reading(image_bytes)
        found = tf.cast(network(pixels)[0], tf.float32)
        return {"features": tf.where((errors == "")[:, None], found, 0.0), "error": errors}

    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        wanted = {EXAMPLE_KEY: tf.io.FixedLenFeature([], tf.string, "")}
        said = answer_bytes(tf.io.parse_example(inputs, wanted)[EXAMPLE_KEY])
        return {"classes": said["classes"], "scores": said["probabilities"]}

    def read(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"pixels": read_image(image_bytes, size)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    files = [tf.TensorSpec([None], tf.string, "image_bytes")]
    archive.add_endpoint("serving_default", answer_bytes, files)
    any_pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, "pixels")
    archive.add_endpoint("pixels", answer_pixels, [any_pixels])
    archive.add_endpoint("features", features, files)
    archive.add_endpoint("classify", classify, [tf.TensorSpec([None], tf.string, "inputs")])
    explained = with_last_map(model)
    if explained is not None:
        of_class = tf.TensorSpec([None], tf.int32, "class_index")
        explain = functools.partial(_explain, explained, reading, meaning)
        archive.add_endpoint("explain", explain, [*files, of_class])
    archive.add_endpoint("read", read, [tf.TensorSpec([], tf.string, "image_bytes")])
    archive.write_out(folder, verbose=False)


def _explain(
    explained: keras.Model,
    reading: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    meaning: Meaning,
    image_bytes: tf.Tensor,
    class_index: tf.Tensor,
) -> dict[str, tf.Tensor]:
    pixels, errors = reading(image_bytes)
    last, logits = explained(pixels, training=False)
    found, chosen = heat(last, logits, class_index)
    readable = errors == ""
    names = tf.where(readable, tf.gather(list(meaning.class_names), chosen), "")
    shown = tf.where(readable[:, None, None], found, 0.0)
    return {"heat": shown, "label": names, "error": errors}
