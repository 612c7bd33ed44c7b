"""Rows of features on disk: computed once, found again by every run. Imports no TensorFlow.

    with open_collection(key, width) as collection:
        missing = collection.missing(ids)
        with collection.adding() as add:
            for some in ...:  # whatever was computed of missing
                add(ids[some], computed)
        rows = collection.rows(ids)
        rows.gather(positions)

A collection consists of parts, each a file that is written whole and never changed, so that
processes may add to it at once and a killed one leaves what it had added. A row that is in
two parts is taken from the older one: whoever read it before reads the same numbers again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.errors import CacheError
from app.features.keeping import fits, room_for
from app.features.locks import held
from app.features.parts import Part, is_sound, read_head, write_part
from app.features.places import FORMAT, HEADER_BYTES, PART, features_folder, row_bytes, unwritable
from app.features.rows import Halves, Ids, Rows, locate

Add = Callable[[Ids, npt.NDArray[Any]], None]

# A killed process loses at most what it computed in half a minute, and the parts stay few.
PART_BYTES = 64_000_000
PART_SECONDS = 30.0
_LARGEST = float(np.finfo(np.float16).max)
_log = logging.getLogger("graft")


class FloatRangeError(CacheError, ValueError):
    """Numbers that float16 cannot hold; whoever computed them has to do without the cache."""


class Collection:
    """Rows of features that all follow from one key; `open_collection` opens it."""

    def __init__(self, folder: Path, width: int) -> None:
        """The folder has to stay locked for as long as this is used."""
        self.folder = folder
        self.width = width
        self._heads: dict[str, Part] = {}
        self._sound: set[str] = set()

    def missing(self, ids: Ids) -> Ids:
        """Finds which rows have to be computed; looks at the disk anew.

        A part that is damaged counts as absent: it is removed, and that is said.

        Args:
            ids: Of rows, int64 `[count]`, such as `row_ids` makes.

        Returns:
            Positions in `ids`, ascending; the first of each where copies ask for one row.
        """
        absent = np.flatnonzero(self._find(ids)[1] < 0)
        return absent[np.sort(np.unique(ids[absent], return_index=True)[1])]

    def rows(self, ids: Ids) -> Rows:
        """Opens rows that are there, in the order of `ids`, without reading them.

        Raises:
            CacheError: If one is missing.
        """
        parts, where = self._find(ids)
        absent = int((where < 0).sum())
        if absent:
            raise CacheError(f"{self.folder} lacks {absent} of {len(ids)} rows: compute them first")
        return Rows(tuple(parts), where, self.width)

    def fits(self, count: int) -> bool:
        """Says whether so many more rows can be kept, by the limit and by what the disk has left.

        Raises:
            CacheError: If the limit is no size, or the folder cannot be written.
        """
        return fits(HEADER_BYTES + count * row_bytes(self.width))

    @contextmanager
    def adding(self) -> Iterator[Add]:
        """Yields what adds rows: `add(ids, rows)`, rows of any float type, `[count, ...]`.

        They are on disk when a part is full or half a minute old, and at the end, be it an
        early one.

        Raises:
            FloatRangeError: If a number is not finite, or beyond 65504.
            CacheError: If they cannot be written, as on a full disk; what was written stays.
        """
        pending = _Pending(self)
        try:
            yield pending.add
        except BaseException:
            with suppress(CacheError):  # what ended it matters more
                pending.write()
            raise
        pending.write()

    def _find(self, ids: Ids) -> tuple[list[Part], Ids]:
        """Where each row is, counted through all parts, or -1."""
        while True:
            parts = self._parts()
            where = locate(parts, ids)
            ends = np.cumsum([len(part.ids) for part in parts])
            used = np.unique(np.searchsorted(ends, where[where >= 0], side="right"))
            damaged = [parts[number] for number in used if not self._is_sound(parts[number])]
            if not damaged:
                return parts, where
            for part in damaged:
                _remove(part.path)

    def _parts(self) -> list[Part]:
        """All parts, the oldest first."""
        paths = sorted(self.folder.glob(f"[0-9]*{PART}"))
        heads = {path.name: self._heads.get(path.name) or self._head(path) for path in paths}
        self._heads = {name: part for name, part in heads.items() if part is not None}
        return list(self._heads.values())

    def _head(self, path: Path) -> Part | None:
        try:
            part = read_head(path, self.width)
        except FileNotFoundError:  # another process has found it damaged
            return None
        if part is None:
            _remove(path)
        return part

    def _is_sound(self, part: Part) -> bool:
        """Its numbers are looked at once, before any is used."""
        if part.path.name not in self._sound and is_sound(part):
            self._sound.add(part.path.name)
        return part.path.name in self._sound


class _Pending:
    """Rows that are not on disk yet."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._since = time.monotonic()
        self._ids: list[Ids] = []
        self._rows: list[Halves] = []
        self._size = 0

    def add(self, ids: Ids, rows: npt.NDArray[Any]) -> None:
        """Takes a copy, and writes a part when one is due."""
        halves = _as_halves(rows).reshape(len(ids), self._collection.width)
        self._ids.append(np.array(ids, np.int64))
        self._rows.append(halves)
        self._size += halves.nbytes
        if self._size >= PART_BYTES or time.monotonic() - self._since >= PART_SECONDS:
            self.write()

    def write(self) -> None:
        ids, rows, self._ids, self._rows = self._ids, self._rows, [], []
        self._since, self._size = time.monotonic(), 0
        if ids:
            folder = self._collection.folder
            path = folder / f"{time.time_ns():020}-{secrets.token_hex(4)}{PART}"
            size = HEADER_BYTES + sum(map(len, ids)) * row_bytes(self._collection.width)
            with room_for(size):
                write_part(path, np.concatenate(ids), rows)


@contextmanager
def open_collection(key: Mapping[str, str | int], width: int) -> Iterator[Collection]:
    """Opens the rows that follow from a key; while it is open, no process removes them.

    Args:
        key: Everything that decides the numbers of a row, but not the image and its view:
            reading, augmentation, seed, backbone, weights, cut, versions. `graft cache` shows
            its `backbone`, `image_size` and `cut`.
        width: How many numbers a row has.

    Raises:
        CacheError: If the folder cannot be written.
    """
    about = {"format": FORMAT, "width": width, "key": dict(key)}
    text = json.dumps(about, indent=2, sort_keys=True) + "\n"
    folder = features_folder() / hashlib.sha256(text.encode()).hexdigest()
    with held(folder, text):
        yield Collection(folder, width)


def _as_halves(rows: npt.NDArray[Any]) -> Halves:
    lowest, highest = rows.min(initial=0), rows.max(initial=0)
    if not (lowest >= -_LARGEST and highest <= _LARGEST):  # NaN compares false, too
        raise FloatRangeError(
            f"features reach from {lowest:.4g} to {highest:.4g}, beyond what float16 can hold"
        )
    return np.array(rows, np.float16, order="C")


def _remove(path: Path) -> None:
    _log.warning("%s is damaged: removed, its features are computed again", path)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
