"""What a model answers to images, and how that is written down."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from app.data.index import Image
from app.data.sources import SEPARATOR
from app.evaluation.many_labels import THRESHOLD
from app.features.cutting import cut
from app.features.filling import remembered_forward_of
from app.features.folding import fold
from app.files import write_whole
from app.models import probabilities

Ask = Callable[[tf.Tensor], Any]
# Folding takes as long as it spares on this many pixels: half a CPU second, at about 4 ms an
# image of 224 x 224, measured with MobileNetV2.
PAYS_FROM = 125 * 224 * 224


def answer(
    model: keras.Model,
    batches: tf.data.Dataset,
    steps: int,
    what: str,
    many_labels: bool = False,
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Asks a model for every image of some batches.

    On a CPU a frozen copy of it is asked, with BatchNorm folded, if they are so many that this
    is quicker; its probabilities are the same within 1e-6.

    Args:
        model: Pixels in, logits out.
        batches: Of (uint8 pixels `[batch, size, size, 3]`, labels).
        steps: How many batches there are, for the progress shown.
        what: Named beside the progress.
        many_labels: Whether an image carries any number of labels.

    Returns:
        Probabilities `[n, classes]` and labels `[n]`, or `[n, classes]` if there are many.
    """
    rows, labels = [], []
    ask: Ask | None = None
    for pixels, label in tqdm(batches, what, steps, unit=" batches", disable=None, leave=False):
        ask = ask or _asking(model, many_labels, steps * prod(pixels.shape[:3]))
        rows.append(keras.ops.convert_to_numpy(ask(pixels)))
        labels.append(label.numpy())
    return np.concatenate(rows), np.concatenate(labels)


def _asking(model: keras.Model, many_labels: bool, pixels: int) -> Ask:
    """Returns what answers a batch with probabilities, given how many pixels come in all."""
    on_cpu = keras.backend.backend() == "tensorflow" and not tf.config.list_physical_devices("GPU")
    if on_cpu and pixels >= PAYS_FROM:
        divided = cut(model)
        if divided and divided.head_alone and len(divided.shapes) == 1:
            forward, head = remembered_forward_of(divided), divided.above
            return lambda batch: probabilities(head([forward(batch)], training=False), many_labels)
        shares = tf.function(
            lambda batch: probabilities(model(batch, training=False), many_labels),
            autograph=False,
        )
        spec = tf.TensorSpec([None, *model.input.shape[1:]], tf.uint8)
        folded = fold(shares.get_concrete_function(spec))
        return lambda batch: folded(batch)[0]

    def ask(batch: tf.Tensor) -> Any:
        logits = keras.ops.convert_to_tensor(model.predict_on_batch(batch.numpy()))
        return probabilities(logits, many_labels)

    return ask


def write_answers(
    path: Path,
    class_names: Sequence[str],
    images: Sequence[Image],
    shares: NDArray[np.float32],
    many_labels: bool = False,
) -> None:
    """Writes a row an image: file, split, class, answer, and the probability of each class.

    Many labels stand with `;` between them; an image without any has an empty field.

    Args:
        path: The CSV file, written whole.
        class_names: Of the columns of `shares`.
        images: Of its rows.
        shares: Probabilities, `[n, classes]`.
        many_labels: Whether an image carries any number of labels.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"probability_{name}" for name in class_names]
    writer.writerow(["file", "split", "class", "label", *columns])
    for image, row in zip(images, shares, strict=True):
        said = np.flatnonzero(row >= THRESHOLD).tolist() if many_labels else [int(row.argmax())]
        label = SEPARATOR.join(class_names[column] for column in said)
        writer.writerow([image.path, image.split, image.class_name, label, *map(str, row)])
    write_whole(path, text.getvalue())
