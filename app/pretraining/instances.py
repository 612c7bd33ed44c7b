"""What is told apart: images of a folder, or regions of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.data.index import Image
from app.data.kept import KeptImages
from app.data.views import files_of, reader

LEAST_REGION = 64  # pixels


class Instances(Protocol):
    """Images that are known by numbers."""

    @property
    def count(self) -> int | None:
        """How many there are before the first comes again; None if each number is another."""

    def images(self, numbers: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """Returns uint8 `[height, width, 3]` for each number, RGB."""

    def keys(self, numbers: NDArray[np.int64]) -> list[int]:
        """Returns what each is known by: its views are decided by it."""


class Files:
    """The images of a folder, kept in memory while they fit."""

    def __init__(self, images: Sequence[Image], size: int) -> None:
        """Reads none yet.

        Args:
            images: Their files.
            size: Side in pixels to which they are read.
        """
        self.count = len(images)
        paths, keys = files_of(images)
        self._paths, self._keys = paths, keys.numpy()
        self._read, self._kept = reader(size), KeptImages(images, size)

    def images(self, numbers: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """Reads those that are not in memory."""
        keys = self._keys[numbers]
        missing = self._kept.missing(keys)
        read = self._read(tf.gather(self._paths, numbers[missing])).numpy()
        return self._kept.complete(keys, missing, read)

    def keys(self, numbers: NDArray[np.int64]) -> list[int]:
        """Returns keys of their contents, whatever else lies beside them."""
        found: list[int] = self._keys[numbers].tolist()
        return found


class Regions:
    """Square regions of a few photographs, of all sizes and at all places."""

    def __init__(self, photographs: Sequence[NDArray[np.uint8]], seed: int) -> None:
        """Takes photographs, from each of which as many regions come as its area's root says.

        Args:
            photographs: uint8 `[height, width, 3]` each.
            seed: Another one draws other regions.
        """
        self.count = None
        self._photographs, self._seed = photographs, seed
        roots = np.sqrt([each.shape[0] * each.shape[1] for each in photographs])
        self._shares = np.cumsum(roots / roots.sum())

    def images(self, numbers: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """Cuts regions out, without copying them."""
        return [self._region(int(number)) for number in numbers]

    def keys(self, numbers: NDArray[np.int64]) -> list[int]:
        """Returns the numbers, each of another region."""
        found: list[int] = numbers.tolist()
        return found

    def _region(self, number: int) -> NDArray[np.uint8]:
        random = np.random.default_rng([self._seed, number])
        which = int(np.searchsorted(self._shares, random.random()))
        photograph = self._photographs[min(which, len(self._photographs) - 1)]
        height, width = photograph.shape[:2]
        most = min(height, width)
        low = np.log(min(LEAST_REGION, most))
        side = int(np.exp(random.uniform(low, np.log(most))))
        top, left = random.integers(0, [height - side + 1, width - side + 1])
        return photograph[top : top + side, left : left + side]
