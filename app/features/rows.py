"""Which rows of features an image has, and reading some of many that stay on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from app.features.parts import Part, map_rows

Ids = npt.NDArray[np.int64]
Halves = npt.NDArray[np.float16]

# Each holds a file open, of which some systems allow 256.
_MOST_MAPS = 128
# 2**64 divided by the golden ratio, odd, as a signed number: views of one image are far apart.
_VIEW_STEP = np.int64(0x9E3779B97F4A7C15 - 2**64)


def row_ids(images: npt.ArrayLike, views: npt.ArrayLike) -> Ids:
    """Names the row of each view of each image, by what can be told of both together.

    Args:
        images: int64 hashes of their contents.
        views: Numbers of views, of a shape that goes with `images`.

    Returns:
        int64 in the common shape. Different views of an image have different rows; two rows
        of different images are as unlikely to meet as two hashes are.
    """
    with np.errstate(over="ignore"):
        stepped: Ids = np.asarray(views, np.int64) * _VIEW_STEP + np.asarray(images, np.int64)
    return stepped


class Rows:
    """Rows of a collection, in the order in which they were asked for; they stay on disk."""

    def __init__(self, parts: tuple[Part, ...], where: Ids, width: int) -> None:
        """Each of `where` counts through all parts, laid end to end."""
        self._ends = np.cumsum([len(part.ids) for part in parts], dtype=np.int64)
        self._starts = self._ends - [len(part.ids) for part in parts]
        self._where = where
        self._width = width
        self._mapped = lru_cache(_MOST_MAPS)(lambda number: map_rows(parts[number], width))

    def __len__(self) -> int:
        return len(self._where)

    def gather(self, positions: Ids) -> Halves:
        """Reads some of the rows; threads may do so at once.

        Args:
            positions: Which, int64 `[count]`.

        Returns:
            float16 `[count, width]`, a copy.

        Raises:
            CacheError: If the file was taken away.
        """
        where = self._where[positions]
        part_of = np.searchsorted(self._ends, where, side="right")
        gathered = np.empty((len(where), self._width), np.float16)
        for number in np.unique(part_of).tolist():
            chosen = np.flatnonzero(part_of == number)
            gathered[chosen] = self._mapped(number)[where[chosen] - self._starts[number]]
        return gathered

    def chunks(self, size: int = 1024) -> Iterator[Halves]:
        """Yields all rows, so many at once."""
        for start in range(0, len(self), size):
            yield self.gather(np.arange(start, min(start + size, len(self))))

    def load(self) -> Halves:
        """Reads all rows into memory: float16 `[rows, width]`."""
        return self.gather(np.arange(len(self)))


def locate(parts: Sequence[Part], ids: Ids) -> Ids:
    """Finds where each row is, counted through all parts laid end to end; -1 if nowhere.

    A row that is in two parts is taken from the earlier one.
    """
    known, first = np.unique(
        np.concatenate([np.empty(0, np.int64), *(part.ids for part in parts)]), return_index=True
    )
    where = np.full(len(ids), -1)
    if len(known):
        near = np.searchsorted(known, ids).clip(max=len(known) - 1)
        where = np.where(known[near] == ids, first[near], where)
    return where
