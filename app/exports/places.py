"""Where exports lie, and which files they are asked about. Standard library only."""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.errors import ExportError

PAGE = 10_000  # names of one folder held at a time
_FINGERPRINT = 12  # hexadecimal digits; enough to tell the few exports of one user apart


def next_version(folder: Path) -> int:
    """Returns the number after the highest version in a folder; the first is 1."""
    if not folder.is_dir():
        return 1
    numbers = (int(each.name) for each in folder.iterdir() if each.name.isdecimal())
    return max(numbers, default=0) + 1


def latest_version(folder: Path) -> Path:
    """Returns the folder itself, if it is a SavedModel, or the highest version inside.

    Raises:
        ExportError: If it is neither.
    """
    if (folder / "saved_model.pb").is_file():
        return folder
    inside = list(folder.iterdir()) if folder.is_dir() else []
    versions = [v for v in inside if v.name.isdecimal() and (v / "saved_model.pb").is_file()]
    if not versions:
        what = "holds no SavedModel" if folder.is_dir() else "does not exist"
        raise ExportError(f"{folder} {what}; `graft export RUN` prints where it wrote one")
    return max(versions, key=lambda version: int(version.name))


def fingerprint(version: Path) -> str:
    """Hashes every file of an export: equal for equal exports, wherever they lie.

    Returns:
        12 hexadecimal digits.
    """
    whole = hashlib.sha256()
    for path in sorted(each for each in version.rglob("*") if each.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.relative_to(version)} {digest}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()[:_FINGERPRINT]


def find_files(names: Sequence[str]) -> Iterator[Path]:
    """Lists files as named, and those inside named folders, in order, each once.

    What is hidden inside a folder is left out. A name that is no folder is listed as it
    is: whoever opens it says what is wrong with it. However many files there are, a page of
    them is held in memory.
    """
    before: set[Path] = set()
    for path in map(Path, names):
        if path not in before:
            yield from (each for each in _shown(path) if not _is_found(each, before))
            before.add(path)


def _shown(path: Path) -> Iterator[Path]:
    """Yields the files inside a folder, or the path itself if there are none."""
    inside = _inside(path) if os.path.isdir(path) else iter(())  # noqa: PTH112  # raises nothing
    first = next(inside, path)
    yield first
    yield from inside


def _inside(folder: Path) -> Iterator[Path]:
    """Yields files by name, folder by folder; a folder that cannot be listed as itself."""
    try:
        for entry in _entries(folder):
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _inside(path)
            elif not (entry.is_symlink() and os.path.isdir(path)):  # noqa: PTH112  # raises nothing
                yield path
    except OSError:  # such as no permission: opening it says so
        yield folder


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Sorts a folder page by page, passing over all of its names for each."""
    last: str | None = ""
    while last is not None:
        with os.scandir(folder) as inside:
            rest = (each for each in inside if each.name > last and each.name[0] != ".")
            page = heapq.nsmallest(PAGE, rest, key=lambda each: each.name)
        yield from page
        last = page[-1].name if len(page) == PAGE else None


def _is_found(path: Path, before: set[Path]) -> bool:
    """Tells whether a file was listed for an earlier name: its own, or a folder above it."""
    if path in before:
        return True
    above = [folder for folder in path.parents if folder in before]
    return any(_leads_to(folder, path) for folder in above)


def _leads_to(folder: Path, path: Path) -> bool:
    parts = path.relative_to(folder).parts
    between = [folder.joinpath(*parts[:count]) for count in range(1, len(parts))]
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and not any(each.is_symlink() for each in between)
