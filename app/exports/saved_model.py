"""From a trained model to a SavedModel that answers image bytes with class names."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from app.data.reading import read_image, resize_image
from app.data.sources import SEPARATOR
from app.errors import ExportError
from app.evaluation.many_labels import THRESHOLD
from app.exports.places import next_version
from app.files import whole_folder
from app.models import probabilities


def export_model(
    model: keras.Model,
    class_names: Sequence[str],
    folder: Path,
    about: dict[str, Any],
    many_labels: bool = False,
) -> Path:
    """Writes a SavedModel as the next version in a folder; needs only TensorFlow to load.

    Signatures, the first two answering with `label` (string `[batch]`, the likeliest class;
    or, with many labels, all from probability 0.5 on with `;` between them, perhaps none),
    `probabilities` (float32 `[batch, classes]`) and `classes` (string `[batch, classes]`,
    the name of each column):

    - `serving_default`: `image_bytes`, string `[batch]`, encoded images of any format
      and size, read by the one reading path;
    - `pixels`: `pixels`, uint8 `[batch, height, width, 3]`, RGB, upright, any size;
    - `read`: `image_bytes`, one scalar string, answered with `pixels`, uint8
      `[size, size, 3]`, for the signature `pixels` as they are.

    Args:
        model: Pixels in, logits out.
        class_names: In the order of labels.
        folder: Such as `saved_models/flowers`; versions inside are never overwritten.
        about: Written as JSON to `assets.extra/graft.json`.
        many_labels: Whether an image carries any number of labels.

    Returns:
        The folder of the version, such as `saved_models/flowers/1`.

    Raises:
        ExportError: If it cannot be written.
    """
    version = folder / str(next_version(folder))
    try:
        with whole_folder(version) as unfinished:
            _write(model, class_names, unfinished, many_labels)
            extra = unfinished / "assets.extra"
            extra.mkdir()
            whole = {"class_names": list(class_names), "many_labels": many_labels, **about}
            (extra / "graft.json").write_text(json.dumps(whole, indent=2) + "\n", "utf-8")
    except OSError as error:
        reason = error.strerror or "it exists"
        raise ExportError(f"{version} cannot be written ({reason}): try --output") from error
    return version


def _write(model: keras.Model, class_names: Sequence[str], folder: Path, many_labels: bool) -> None:
    size = int(model.input.shape[1])

    def answer(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        shares = probabilities(model(pixels, training=False), many_labels)
        names = tf.constant(list(class_names))
        columns = tf.broadcast_to(names, [tf.shape(shares)[0], len(class_names)])
        likeliest = tf.gather(names, tf.argmax(shares, axis=1))
        return {
            "label": _labels_said(names, shares) if many_labels else likeliest,
            "probabilities": shares,
            "classes": columns,
        }

    def answer_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = tf.TensorSpec([size, size, 3], tf.uint8)
        read = tf.map_fn(lambda one: read_image(one, size), image_bytes, fn_output_signature=spec)
        return answer(read)

    def answer_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        # Resizing would leave pixels of the right size as they are, and take its time for it.
        fitting = tf.reduce_all(tf.shape(pixels)[1:3] == size)
        as_is = functools.partial(tf.ensure_shape, pixels, [None, size, size, 3])
        return answer(tf.cond(fitting, as_is, lambda: resize_image(pixels, size)))

    def read(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"pixels": read_image(image_bytes, size)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default", answer_bytes, [tf.TensorSpec([None], tf.string, "image_bytes")]
    )
    archive.add_endpoint(
        "pixels", answer_pixels, [tf.TensorSpec([None, None, None, 3], tf.uint8, "pixels")]
    )
    archive.add_endpoint("read", read, [tf.TensorSpec([], tf.string, "image_bytes")])
    archive.write_out(folder, verbose=False)


def _labels_said(names: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Joins the names of each row that are likely enough: string `[batch]`."""
    pieces = tf.where(shares >= THRESHOLD, tf.strings.join([SEPARATOR, names]), "")
    joined = tf.strings.reduce_join(pieces, axis=1)
    return tf.strings.regex_replace(joined, f"^{SEPARATOR}", "")
