"""What a model answers to images, and how that is written down."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
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
from app.files import write_whole
from app.models import probabilities


def answer(
    model: keras.Model,
    batches: tf.data.Dataset,
    steps: int,
    what: str,
    many_labels: bool = False,
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Asks a model for every image of some batches.

    Args:
        model: Pixels in, logits out.
        batches: Of (pixels, labels).
        steps: How many batches there are, for the progress shown.
        what: Named beside the progress.
        many_labels: Whether an image carries any number of labels.

    Returns:
        Probabilities `[n, classes]` and labels `[n]`, or `[n, classes]` if there are many.
    """
    rows, labels = [], []
    for pixels, label in tqdm(batches, what, steps, unit=" batches", disable=None, leave=False):
        logits = keras.ops.convert_to_tensor(model.predict_on_batch(pixels))
        rows.append(keras.ops.convert_to_numpy(probabilities(logits, many_labels)))
        labels.append(label.numpy())
    return np.concatenate(rows), np.concatenate(labels)


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
