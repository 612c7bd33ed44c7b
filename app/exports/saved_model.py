"""From a trained model to a SavedModel that answers image bytes with class names."""

from __future__ import annotations

import functools
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
    of = _Signatures(model, meaning)
    files = tf.TensorSpec([None], tf.string, "image_bytes")
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", of.files, [files])
    any_pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, "pixels")
    archive.add_endpoint("pixels", of.pixels, [any_pixels])
    archive.add_endpoint("features", of.features, [files])
    archive.add_endpoint("classify", of.examples, [tf.TensorSpec([None], tf.string, "inputs")])
    explained = with_last_map(model)
    if explained is not None:
        of_class = tf.TensorSpec([None], tf.int32, "class_index")
        explain = functools.partial(of.explain, explained)
        archive.add_endpoint("explain", explain, [files, of_class])
    archive.add_endpoint("read", of.read, [tf.TensorSpec([], tf.string, "image_bytes")])
    archive.write_out(folder, verbose=False)


class _Signatures:
    """What a model is asked, as TensorFlow traces it."""

    def __init__(self, model: keras.Model, meaning: Meaning) -> None:
        size = int(model.input.shape[1])
        self._model, self._meaning, self._size = model, meaning, size
        # Traced once, and called by all signatures that read files.
        self._read = tf.function(lambda files: read_images(files, size), autograph=False)
        both = keras.Model(model.input, [model.get_layer("logits").input, model.output])
        # So is the network, by most; `explain` needs its gradients.
        self._network = tf.function(
            lambda pixels: both(pixels, training=False),
            [tf.TensorSpec([None, size, size, 3], tf.uint8)],
            autograph=False,
        )

    def files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, errors = self._read(image_bytes)
        return self._meaning.answers_of_files(self._network(pixels)[1], errors)

    def pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        # Resizing would leave pixels of the right size as they are, and take its time for it.
        fitting = tf.reduce_all(tf.shape(pixels)[1:3] == self._size)
        as_is = functools.partial(tf.ensure_shape, pixels, [None, self._size, self._size, 3])
        fitted = tf.cond(fitting, as_is, lambda: resize_image(pixels, self._size))
        # Not through the shared network: what folds this signature wants all of it in one graph.
        return self._meaning.answers(self._model(fitted, training=False))

    def features(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, errors = self._read(image_bytes)
        found = tf.cast(self._network(pixels)[0], tf.float32)
        return {"features": tf.where((errors == "")[:, None], found, 0.0), "error": errors}

    def examples(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        wanted = {EXAMPLE_KEY: tf.io.FixedLenFeature([], tf.string, "")}
        said = self.files(tf.io.parse_example(inputs, wanted)[EXAMPLE_KEY])
        return {"classes": said["classes"], "scores": said["probabilities"]}

    def explain(
        self, explained: keras.Model, image_bytes: tf.Tensor, class_index: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        pixels, errors = self._read(image_bytes)
        last, logits = explained(pixels, training=False)
        found, chosen = heat(last, logits, class_index)
        readable = errors == ""
        names = tf.where(readable, tf.gather(list(self._meaning.class_names), chosen), "")
        shown = tf.where(readable[:, None, None], found, 0.0)
        return {"heat": shown, "label": names, "error": errors}

    def read(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"pixels": read_image(image_bytes, self._size)}
