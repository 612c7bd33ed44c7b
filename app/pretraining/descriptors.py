"""What can be said of an image without a network: its edges, its colours, its patches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.files import whole_file
from app.pretraining.dictionary import Dictionary, learn_dictionary, pieces

DIRECTIONS, LEVELS = 9, 8
# Edges, the mean colour, and how often each level of each channel occurs.
OF_EDGES_AND_COLORS = DIRECTIONS + 3 + 3 * LEVELS
_WORDS, _AXES = 256, 128
_FAINT = 0.01  # of a number that hardly varies, no more is made than that


@dataclass(frozen=True)
class Descriptors:
    """Describes images by what they differ in most.

    Attributes:
        dictionary: Of patches.
        mean: Of all that is said of an image, `[numbers]`.
        axes: The principal axes of how images differ in it, `[numbers, width]`.
    """

    dictionary: Dictionary
    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    @property
    def width(self) -> int:
        """How many numbers describe an image."""
        return int(self.axes.shape[1])

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Describes images.

        Args:
            pixels: uint8 `[n, size, size, 3]`, RGB.

        Returns:
            `[n, width]`; over the images that it was learned from each number has mean 0, none
            follows from the others, and their mean square is 1. An axis counts by its standard
            deviation: by its variance two or three would be all, and were all equal, noise.
        """
        said = _said(self.dictionary, pixels)
        described: NDArray[np.float32] = ((said - self.mean) @ self.axes).astype(np.float32)
        return described

    def save(self, file: Path) -> None:
        """Writes it whole."""
        with whole_file(file) as temporary, temporary.open("wb") as opened:
            np.savez(opened, mean=self.mean, axes=self.axes, **vars(self.dictionary))


def load_descriptors(file: Path) -> Descriptors:
    """Reads what `save` wrote."""
    # Opened here: of a damaged file NumPy would leave that to the garbage collector.
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
        dictionary = Dictionary(arrays["kernels"], arrays["offsets"])
        return Descriptors(dictionary, arrays["mean"], arrays["axes"])


def learn_descriptors(pixels: NDArray[np.uint8], seed: int) -> Descriptors:
    """Learns a dictionary of patches, and what images differ in.

    Args:
        pixels: Of many images, uint8 `[n, size, size, 3]`.
        seed: Of the dictionary.
    """
    dictionary = learn_dictionary(pixels, _WORDS, seed)
    said = _said(dictionary, pixels)
    mean, deviation = said.mean(axis=0), said.std(axis=0) + _FAINT
    _, values, axes = np.linalg.svd((said - mean) / deviation, full_matrices=False)
    width = min(_AXES, len(values) - 1)  # as many rows less their mean have one axis less
    lengths = np.sqrt(values[:width] * values[:width].mean() / len(said))
    scaled = axes[:width].T / deviation[:, None] / lengths
    return Descriptors(dictionary, mean, scaled.astype(np.float32))


def _said(dictionary: Dictionary, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    parts: list[Any] = [
        np.concatenate([dictionary.describe(tf.constant(some)), edges_and_colors(some)], axis=1)
        for some in pieces(pixels)
    ]
    return np.concatenate(parts)


def edges_and_colors(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describes images by histograms of oriented gradients, and of colours.

    Directions are those of Dalal and Triggs 2005 (doi 10.1109/CVPR.2005.177): nine over half a
    turn, each pixel's divided among the two nearest; but of the whole image, as pooled features
    are, not of its cells. Roots make faint ones count.

    Args:
        pixels: uint8 `[n, size, size, 3]`, RGB; the size is 3 or more.

    Returns:
        `[n, OF_EDGES_AND_COLORS]`, each number about 0 to 1.
    """
    mean = pixels.mean(axis=(1, 2)) / 255
    return np.concatenate([_edges(pixels), mean, _levels(pixels)], axis=1, dtype=np.float32)


def _edges(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    grey = pixels.astype(np.float32).sum(axis=3) / (3 * 255)
    down, across = np.zeros_like(grey), np.zeros_like(grey)
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    across[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    place = np.arctan2(down, across) * np.float32(DIRECTIONS / np.pi)
    lower = np.floor(place)
    strength = np.hypot(down, across)
    first = np.arange(len(pixels))[:, None, None] * DIRECTIONS
    found = np.zeros(len(pixels) * DIRECTIONS)
    for step, share in ((0, 1 - (place - lower)), (1, place - lower)):
        where = first + (lower.astype(np.intp) + step) % DIRECTIONS
        found += np.bincount(where.ravel(), (strength * share).ravel(), len(found))
    rooted: NDArray[np.float64] = np.sqrt(found.reshape(len(pixels), -1) / grey[0].size)
    return rooted


def _levels(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    count = len(pixels) * 3 * LEVELS
    first = (np.arange(len(pixels))[:, None] * 3 + np.arange(3)) * LEVELS
    where = first[:, None, None] + pixels // (256 // LEVELS)
    found = np.bincount(where.ravel(), minlength=count).reshape(len(pixels), -1)
    rooted: NDArray[np.float64] = np.sqrt(found / (pixels.shape[1] * pixels.shape[2]))
    return rooted
