"""Where computed features lie on disk, and how many bytes they may take. Imports no NumPy."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from app.errors import CacheError

FORMAT = 1  # of the files in a collection
HEADER_BYTES = 64
PART = ".rows"
DEFAULT_LIMIT = "10GB"
# A training needs some of the disk for its checkpoints, too.
SPARE_BYTES = 500_000_000
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def features_folder() -> Path:
    """Finds the folder of all collections, which need not exist.

    It lies in `$GRAFT_CACHE`, or else where the platform wants caches to be.

    Raises:
        CacheError: If there is no home folder to look in.
    """
    return (_given_folder() or _platform_folder() / "graft").absolute() / "features"


def _given_folder() -> Path | None:
    given = os.environ.get("GRAFT_CACHE")
    return Path(given).expanduser() if given else None


def _platform_folder() -> Path:
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches"
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise CacheError(
            f"there is no home folder ({error}): set GRAFT_CACHE to a folder"
        ) from None


def limit() -> int:
    """Returns how many bytes may be kept: `$GRAFT_CACHE_LIMIT`, or 10 GB.

    Raises:
        CacheError: If it is no size, such as `20GB`.
    """
    given = os.environ.get("GRAFT_CACHE_LIMIT") or DEFAULT_LIMIT
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([kMGT]?B)", given.strip(), re.IGNORECASE)
    if not found:
        raise CacheError(f"GRAFT_CACHE_LIMIT is {given!r}: give a size such as 20GB or 500MB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def show_size(size: float) -> str:
    """Writes bytes as people read them, such as `1.25 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"


def row_bytes(width: int) -> int:
    """Returns what a row takes: its numbers in float16, and what it is the row of."""
    return 8 + 2 * width


def unwritable(folder: Path, error: OSError) -> CacheError:
    """Says that nothing can be kept in a folder."""
    return CacheError(
        f"{folder} cannot be written ({error.strerror or error}): set GRAFT_CACHE to another folder"
    )
