"""An export in memory, with nothing but TensorFlow: no Keras, no training code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.errors import ExportError, decoding_reason
from app.exports.places import latest_version
from app.features.folding import fold

BATCH = 16  # what a CPU handles best; a larger batch brings nothing there
MOST_AT_ONCE = 8  # batches: each takes memory for the activations of the network
Arrays = dict[str, NDArray[Any]]


class Loaded:
    """A SavedModel that `graft export` wrote, loaded, and its network folded.

    Attributes:
        folder: Of its version.
        class_names: In the order of probabilities.
        size: Side of the square that the network sees, in pixels.
    """

    def __init__(self, folder: Path) -> None:
        """Loads the SavedModel.

        Raises:
            ExportError: If the folder holds no SavedModel, or none of this graft's.
        """
        self.folder = latest_version(folder)
        try:
            self._loaded = tf.saved_model.load(str(self.folder))
        except (OSError, KeyError, tf.errors.OpError) as error:
            raise ExportError(f"{self.folder} cannot be loaded: {error}") from error
        if not {"pixels", "read"} <= set(self._loaded.signatures):
            raise ExportError(
                f"{self.folder} is a SavedModel, but none that graft exported; if an earlier"
                " graft did, export its run again"
            )
        self._read = self._loaded.signatures["read"]
        answer = self._loaded.signatures["pixels"]
        self._answer, self._outputs = fold(answer), sorted(answer.structured_outputs)
        self.size = int(self._read.structured_outputs["pixels"].shape[0])
        self.class_names = self._class_names()

    def _class_names(self) -> tuple[str, ...]:
        classes = self.answer(np.zeros([1, self.size, self.size, 3], np.uint8))["classes"]
        return tuple(name.decode() for name in classes[0])

    def answer(self, pixels: NDArray[np.uint8]) -> Arrays:
        """Asks the network.

        Args:
            pixels: `[n, size, size, 3]`, n at least 1.

        Returns:
            What the signature `pixels` answers, a row each.
        """
        found = self._answer(tf.constant(pixels))
        return {name: each.numpy() for name, each in zip(self._outputs, found, strict=True)}

    def read(self, contents: bytes) -> NDArray[np.uint8] | str:
        """Decodes a file as the network gets it, `[size, size, 3]`, or says why it cannot."""
        try:
            found = self._read(image_bytes=tf.constant(contents))["pixels"]
            pixels: NDArray[np.uint8] = found.numpy()
        except tf.errors.InvalidArgumentError as error:
            return decoding_reason(str(error.message))
        except tf.errors.ResourceExhaustedError:
            return "memory does not suffice to read it"
        return pixels

    def call(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Asks a signature as it lies in the file, not folded.

        Args:
            signature: Its name.
            inputs: By name, as it takes them.

        Raises:
            OpError: Of TensorFlow, if it cannot answer that.
        """
        given = {name: tf.constant(value) for name, value in inputs.items()}
        found = self._loaded.signatures[signature](**given)
        return {name: each.numpy() for name, each in found.items()}


def at_once() -> int:
    """Returns how many batches are answered at once: one a core, up to `MOST_AT_ONCE`."""
    return min(len(os.sched_getaffinity(0)), MOST_AT_ONCE)


def set_up_threads() -> None:
    """Leaves each operation to one thread, as long as there are no more cores than batches.

    Batches beside one another keep all cores at work. Operations divided among them cost more
    CPU time in all. In a program in which TensorFlow is at work already nothing changes.
    """
    cores = len(os.sched_getaffinity(0))
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(cores // at_once())
