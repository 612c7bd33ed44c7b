"""Asking an export, with nothing but TensorFlow: no Keras, no training code."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from app.errors import ExportError, decoding_reason
from app.exports.places import latest_version

BATCH = 16  # what a CPU handles best; a larger batch brings nothing there
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Answer:
    """What an export says of one file.

    Attributes:
        path: The file.
        label: The likeliest class, or all labels from probability 0.5 on with `;` between
            them. Empty if there is no such label, or the file could not be read.
        probabilities: float32 `[classes]`; None if the file could not be read.
        error: Why it could not be read; empty if it could.
    """

    path: Path
    label: str
    probabilities: NDArray[np.float32] | None
    error: str


class Export:
    """A SavedModel that `graft export` wrote, loaded."""

    def __init__(self, folder: Path) -> None:
        """Loads the SavedModel.

        Raises:
            ExportError: If the folder holds no SavedModel, or none of graft's.
        """
        self.folder = latest_version(folder)
        try:
            self._loaded = tf.saved_model.load(str(self.folder))
            self._answer = self._loaded.signatures["serving_default"]
            outputs = set(self._answer.structured_outputs)
        except (OSError, KeyError, tf.errors.OpError) as error:
            raise ExportError(f"{self.folder} cannot be loaded: {error}") from error
        if not {"label", "probabilities", "classes"} <= outputs:
            raise ExportError(f"{self.folder} is a SavedModel, but none that graft exported")
        self.class_names = self._class_names()

    def _class_names(self) -> tuple[str, ...]:
        blank = tf.zeros([1, 8, 8, 3], tf.uint8)
        classes = self._loaded.signatures["pixels"](pixels=blank)["classes"][0]
        return tuple(name.decode() for name in classes.numpy())

    def predict(self, paths: Sequence[Path]) -> Iterator[Answer]:
        """Answers files in their order; one that cannot be read spoils no other."""
        for start in range(0, len(paths), BATCH):
            yield from self._predict_batch(paths[start : start + BATCH])

    def _predict_batch(self, paths: Sequence[Path]) -> Iterator[Answer]:
        contents, errors = _read(paths)
        answers = iter(self._ask(contents))
        for path, error in zip(paths, errors, strict=True):
            label, shares, wrong = ("", None, error) if error else next(answers)
            yield Answer(path, label, shares, wrong)

    def _ask(self, contents: list[bytes]) -> list[tuple[str, NDArray[np.float32] | None, str]]:
        """Asks for all at once, and one by one only if some image among them is bad."""
        if not contents:
            return []
        try:
            answer: dict[str, Any] = self._answer(image_bytes=tf.constant(contents))
        except tf.errors.InvalidArgumentError as error:
            if len(contents) == 1:
                return [("", None, decoding_reason(str(error.message)))]
            return [row for one in contents for row in self._ask([one])]
        labels = [label.decode() for label in answer["label"].numpy()]
        return [
            (label, shares, "")
            for label, shares in zip(labels, answer["probabilities"].numpy(), strict=True)
        ]


def write_predictions(export: Export, paths: Sequence[Path], file: IO[str]) -> int:
    """Writes a row a file as CSV: file, label, probability, error, and every class.

    `probability` is that of the likeliest class or label.

    Returns:
        How many files could not be read.
    """
    writer = csv.writer(file, lineterminator="\n")
    columns = [f"probability_{name}" for name in export.class_names]
    writer.writerow(["file", "label", "probability", "error", *columns])
    unreadable = 0
    progress = tqdm(export.predict(paths), "predicting", len(paths), unit=" images", disable=None)
    for answer in progress:
        shares = [] if answer.probabilities is None else answer.probabilities.tolist()
        unreadable += bool(answer.error)
        best = f"{max(shares):.6f}" if shares else ""
        row = [f"{share:.6f}" for share in shares] or [""] * len(columns)
        writer.writerow([answer.path, answer.label, best, answer.error, *row])
    return unreadable


def _read(paths: Sequence[Path]) -> tuple[list[bytes], list[str]]:
    """Returns the contents of the files that can be opened, and what is wrong with each."""
    contents, errors = [], []
    for path in paths:
        try:
            contents.append(path.read_bytes())
            errors.append("")
        except OSError as error:
            errors.append(error.strerror or str(error))
    return contents, errors
