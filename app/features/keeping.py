"""What is kept of computed features, and what goes first. Imports no NumPy: quick to ask."""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from app.errors import CacheError
from app.features.locks import alone, remove, use
from app.features.places import (
    FORMAT,
    HEADER_BYTES,
    PART,
    SPARE_BYTES,
    features_folder,
    limit,
    row_bytes,
    show_size,
)

_NAME = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Kept:
    """A collection that lies in the cache.

    Attributes:
        folder: Everything of it lies there.
        key: What its numbers follow from; empty if it cannot be read by this version.
        rows: How many there are.
        size: Bytes of all its files.
        last_used: Seconds since 1970.
        in_use: Whether a living process holds it.
    """

    folder: Path
    key: Mapping[str, Any]
    rows: int
    size: int
    last_used: float
    in_use: bool


def kept() -> list[Kept]:
    """Lists what is kept, in the order in which it is removed when room is needed.

    Raises:
        CacheError: If the folder cannot be looked at.
    """
    folder = features_folder()
    if not folder.is_dir():
        return []
    with alone(folder):
        return _listed(folder)


def fits(size: int) -> bool:
    """Says whether so many bytes can be kept, once what is not in use has made room.

    Raises:
        CacheError: If the limit is no size, or the folder cannot be written.
    """
    folder = features_folder()
    with alone(folder):
        return not _lack_at_last(size, _listed(folder), folder)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Makes room by removing what was not used for longest, and lets no other process take it.

    Raises:
        CacheError: If what is in use leaves too little.
    """
    folder = features_folder()
    with alone(folder):
        _make_room(size, folder)
        yield


def clear(unused_days: int = 0) -> tuple[list[Kept], list[Kept]]:
    """Removes what was not used for some days and is not in use now.

    Returns:
        What was removed, and what is in use, though as old.

    Raises:
        CacheError: If it cannot be removed.
    """
    folder, before = features_folder(), time.time() - unused_days * 86_400
    if not folder.is_dir():
        return [], []
    with alone(folder):
        old = [each for each in _listed(folder) if not unused_days or each.last_used < before]
        removed = [each for each in old if remove(each.folder)]
    return removed, [each for each in old if each not in removed]


def _make_room(size: int, folder: Path) -> None:
    """Removes nothing if that would not be enough."""
    listed = _listed(folder)
    lack = _lack_at_last(size, listed, folder)
    if lack:
        raise CacheError(f"{show_size(size)} of features cannot be kept in {folder}: {lack}")
    total = sum(each.size for each in listed)
    for each in listed:
        if _lack(size, total, _free(folder)) and remove(each.folder):
            total -= each.size
            _log.info("removed features from the cache to make room: %s", _named(each))


def _lack_at_last(size: int, listed: Sequence[Kept], folder: Path) -> str:
    loose = sum(each.size for each in listed if not each.in_use)
    in_use = sum(each.size for each in listed if each.in_use)
    return _lack(size, in_use, _free(folder) + loose)


def _lack(size: int, total: int, free: int) -> str:
    """Says what forbids to add so much to a total; nothing, if it may be."""
    if total + size > limit():
        return f"it would hold more than {show_size(limit())}, raise GRAFT_CACHE_LIMIT"
    if size + SPARE_BYTES > free:
        return "the disk is nearly full, set GRAFT_CACHE to a folder on another"
    return ""


def summary(listed: Sequence[Kept]) -> str:
    """Says how many and how much, such as `2 collections, 31 MB`."""
    count = f"{len(listed)} collection{'' if len(listed) == 1 else 's'}"
    return f"{count}, {show_size(sum(each.size for each in listed))}"


def table(listed: Sequence[Kept]) -> str:
    """Writes a line for each collection, the last used first."""
    row = "{:22} {:>6}  {:20} {:>10} {:>8}  {}"
    lines = [row.format("backbone", "pixels", "cut", "rows", "size", "last used")]
    for each in reversed(listed):
        what = [str(each.key.get(name, "-")) for name in ("backbone", "image_size", "cut")]
        used = datetime.fromtimestamp(each.last_used).astimezone().strftime("%Y-%m-%d %H:%M")
        when = f"{used}{', in use' if each.in_use else ''}"
        lines.append(row.format(*what, f"{each.rows:,}", show_size(each.size), when))
    return "\n".join(lines)


def _named(each: Kept) -> str:
    what = " ".join(str(each.key[name]) for name in ("backbone", "image_size") if name in each.key)
    return f"{what or each.folder.name}, {show_size(each.size)}"


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _listed(folder: Path) -> list[Kept]:
    """What this version cannot read comes first: nobody will use it again."""
    found = [
        _look(each) for each in folder.iterdir() if _NAME.fullmatch(each.name) and each.is_dir()
    ]
    return sorted(found, key=lambda each: (bool(each.key), each.last_used, each.folder))


def _look(folder: Path) -> Kept:
    about = _about(folder)
    sizes = {path.name: _size(path) for path in folder.iterdir()}
    parts = [size for name, size in sizes.items() if name.endswith(PART) and name[0] != "."]
    row = row_bytes(about["width"]) if about else 0
    rows = sum((size - HEADER_BYTES) // row for size in parts if size and row)
    last_used, in_use = use(folder / ".lock")
    return Kept(folder, about.get("key", {}), rows, sum(sizes.values()), last_used, in_use)


def _about(folder: Path) -> dict[str, Any]:
    """Nothing of it can be trusted that is not as this version writes it."""
    try:
        about = json.loads((folder / "about.json").read_text("utf-8"))
        known = about["format"] == FORMAT and isinstance(about["key"], dict) and about["width"] > 0
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return dict(about) if known else {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a process that found it damaged removed it at this moment
        return 0
