"""Small patches that images are made of, learned without labels; and images told by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

PATCH, SIDE = 6, 32  # pixels; images are made small first, so that a patch shows something
STRIDE = 2  # between patches that are looked for: a quarter of the work
_SAMPLED, _ROUNDS = 60_000, 10
# Levels squared, and shares of the variance: what keeps flat patches and faint directions quiet.
_FLAT, _FAINT = 10.0, 0.1
_THRESHOLD = 0.25
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Dictionary:
    """Patches, with the whitening that they were found in folded in.

    Attributes:
        kernels: What is multiplied with a patch, `[6, 6, 3, words]`.
        offsets: What is subtracted afterwards, `[words]`.
    """

    kernels: Rows
    offsets: Rows

    @property
    def width(self) -> int:
        """How many numbers describe an image."""
        return len(self.offsets)

    def describe(self, pixels: tf.Tensor) -> tf.Tensor:
        """Tells how much of each patch is in images, wherever it is.

        Args:
            pixels: uint8 `[n, size, size, 3]`, RGB.

        Returns:
            float32 `[n, width]`; roots, so that what is rare counts.
        """
        small = _small(pixels)
        sums = tf.reduce_sum(small, axis=3, keepdims=True)
        squares = tf.reduce_sum(small**2, axis=3, keepdims=True)
        count = PATCH * PATCH * 3
        mean = PATCH * PATCH * _averaged(sums) / count
        variance = PATCH * PATCH * _averaged(squares) / count - mean**2
        found = tf.nn.conv2d(small, self.kernels, STRIDE, "VALID")
        cosines = found / tf.sqrt(tf.maximum(variance, 0.0) + _FLAT) - self.offsets
        strengths = tf.nn.relu(cosines - _THRESHOLD)
        return tf.sqrt(tf.reduce_mean(strengths, axis=[1, 2]))


def learn_dictionary(pixels: NDArray[np.uint8], words: int, seed: int) -> Dictionary:
    """Finds patches that many others are like, by k-means of directions on whitened patches.

    Coates and Ng 2012, "Learning Feature Representations with K-Means"
    (doi 10.1007/978-3-642-35289-8_30); that such words tell images apart as well as deep networks
    of their time did is from Coates, Lee and Ng 2011, "An Analysis of Single-Layer Networks in
    Unsupervised Feature Learning".

    Args:
        pixels: Of many images, uint8 `[n, size, size, 3]`.
        words: How many patches.
        seed: Of the patches that are looked at, and of those that are begun with.
    """
    random = np.random.default_rng(seed)
    patches = _sampled(pixels, random)
    deviation = np.sqrt(patches.var(axis=1, keepdims=True) + _FLAT)
    patches = (patches - patches.mean(axis=1, keepdims=True)) / deviation
    mean = patches.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov((patches - mean).T))
    whitening = (axes / np.sqrt(values + _FAINT)) @ axes.T
    words_found = _clustered((patches - mean) @ whitening, words, random)
    kernels = whitening @ words_found.T
    offsets = mean @ kernels
    kernels = kernels - kernels.mean(axis=0)  # instead of taking the mean of each patch away
    shape = (PATCH, PATCH, 3, words)
    return Dictionary(kernels.reshape(shape).astype(np.float32), offsets.astype(np.float32))


def pieces(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Splits images so that few are floats at once, `[about 64, size, size, 3]` each."""
    return np.array_split(pixels, max(len(pixels) // 64, 1))


def _small(pixels: tf.Tensor) -> tf.Tensor:
    return tf.image.resize(tf.cast(pixels, tf.float32), [SIDE, SIDE], method="area")


def _averaged(planes: tf.Tensor) -> tf.Tensor:
    return tf.nn.avg_pool2d(planes, PATCH, STRIDE, "VALID")


def _sampled(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.float64]:
    small = np.concatenate([_small(some).numpy() for some in pieces(pixels)])
    images = random.integers(len(small), size=_SAMPLED)
    tops, lefts = random.integers(SIDE - PATCH + 1, size=(2, _SAMPLED))
    inside = np.arange(PATCH)
    rows, columns = tops[:, None] + inside, lefts[:, None] + inside
    patches = small[images[:, None, None], rows[:, :, None], columns[:, None, :]]
    found: NDArray[np.float64] = patches.reshape(_SAMPLED, -1).astype(np.float64)
    return found


def _clustered(
    rows: NDArray[np.float64], count: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Spherical k-means: directions of length 1, `[count, width]`."""
    words = _directions(rows[random.permutation(len(rows))[:count]])
    for _ in range(_ROUNDS):
        likeness = rows @ words.T
        nearest = likeness.argmax(axis=1)
        shares = np.zeros((len(rows), count))
        shares[np.arange(len(rows)), nearest] = likeness.max(axis=1)
        sums = shares.T @ rows
        lost = np.linalg.norm(sums, axis=1) < 1e-6
        sums[lost] = rows[random.permutation(len(rows))[: lost.sum()]]
        words = _directions(sums)
    return words


def _directions(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found
