"""Which images a prediction is asked for: files, folders, patterns, and lists of them.

Standard library only. However long a list, none of it is held.
"""

from __future__ import annotations

import csv
import glob
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from app.errors import ExportError
from app.exports.places import find_files

STDIN = "-"
COLUMNS = ("path", "file")


def asked_for(names: Sequence[str], stdin: IO[str]) -> Iterator[Path]:
    """Lists images in order.

    Args:
        names: Files, and folders, as `find_files` lists them; patterns such as
            `photos/**/*.jpg` for what they match, in the order of names; CSV files for their
            column `path` or `file`, relative to the folder of each; `-` for standard input, a
            path a line.
        stdin: That.

    Raises:
        ExportError: If a list cannot be read, or a pattern matches nothing.
    """
    for kind, some in itertools.groupby(names, _kind):
        if kind == "names":
            yield from find_files([each for name in some for each in _matched(name)])
        else:
            for name in some:
                yield from _of_table(Path(name)) if kind == "table" else _of_lines(stdin)


def can_be_counted(names: Iterable[str]) -> bool:
    """Tells whether images can be listed more than once."""
    return STDIN not in names


def _kind(name: str) -> str:
    if name == STDIN:
        return "lines"
    return "table" if name.lower().endswith(".csv") and Path(name).is_file() else "names"


def _matched(name: str) -> list[str]:
    if not glob.has_magic(name) or Path(name).exists():
        return [name]
    found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # the name may be absolute
    if not found:
        raise ExportError(f"{name} matches no file: check the pattern, and its quotes")
    return found


def _of_lines(stdin: IO[str]) -> Iterator[Path]:
    for line in stdin:
        name = line.rstrip("\r\n")
        if name:
            yield Path(name)


def _of_table(table: Path) -> Iterator[Path]:
    try:
        with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file, strict=True)
            column = _column(table, next(rows, []))
            for row in rows:
                if len(row) > column and row[column]:
                    yield table.parent / row[column]
                elif row:
                    raise ExportError(f"{table} line {rows.line_num} names no file")
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"{table} cannot be read: {reason}") from error


def _column(table: Path, names: Sequence[str]) -> int:
    found = [names.index(name) for name in COLUMNS if name in names]
    if not found:
        listed = ", ".join(names) or "none"
        raise ExportError(f"{table} has no column path or file, but {listed}: name one so")
    return found[0]
