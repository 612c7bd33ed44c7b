"""Images listed in a CSV file, with one class each or with any number of labels."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.data.sources import SEPARATOR, SPLIT_FOLDERS, File, Listing, natural_order
from app.errors import DataError

# The column that says what an image shows decides how many answers there are to it.
ONE_CLASS = ("class_name", "label")
MANY_LABELS = "labels"
LONGEST_NAME = 255  # what file systems allow a class folder; longer is a cell gone wrong
_KNOWN = {"path", "split", *ONE_CLASS, MANY_LABELS}
_WANTED = "name them path and class_name or labels, separated by commas"


@dataclass(frozen=True)
class _Row:
    """The cells of a row by their columns, and the line of the file on which it ends."""

    line: int
    cells: dict[str, str]


def list_table(table: Path) -> Listing:
    """Lists the images that a CSV file names, without opening one.

    The columns are `path`, relative to the folder of the file or absolute; `class_name` (or
    `label`) for one class an image, or `labels` for any number, separated by `;`; and
    perhaps `split`: `train`, `validation` (or `val`, `valid`) or `test`. Others are passed
    over. The text is UTF-8, with or without a byte order mark.

    Raises:
        DataError: If it cannot be read, or a row of it makes no sense; the message names
            the line.
    """
    table = table.absolute()  # so that a run finds its images from anywhere
    names, rows = _parse(table, _text(table))
    column = _answer_column(table, names)
    _check_paths(table, rows)
    splits = _splits(table, rows)
    shown = [_class_names(table, row, column) for row in rows]
    files = tuple(
        File(table.parent / row.cells["path"], found, split)
        for row, found, split in zip(rows, shown, splits, strict=True)
    )
    known = {name for found in shown for name in found}
    if len(known) < 2:
        what = f"only '{known.pop()}'" if known else "none"
        raise DataError(f"{table} names at least two classes in '{column}', but here are {what}")
    class_names = tuple(sorted(known, key=natural_order))
    return Listing(table, class_names, files, _notes(names, column, files), column == MANY_LABELS)


def _text(table: Path) -> str:
    try:
        contents = table.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{table} does not exist: give a CSV file to --data.source") from error
    except (OSError, ValueError) as error:  # the second for a name with a zero byte in it
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{table} cannot be read: {reason}") from error
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = contents.count(b"\n", 0, error.start) + 1
        raise DataError(f"{table} line {line} is not UTF-8: save the file as UTF-8") from error


def _parse(table: Path, text: str) -> tuple[list[str], list[_Row]]:
    """Reads the whole file, so that its first mistake is known before any image is opened."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] = []
    rows = []
    try:
        for cells in filter(None, reader):
            if not names:
                names = [cell.strip() for cell in cells]
                _check_columns(table, names)
            else:
                _check_cells(table, reader.line_num, names, cells)
                rows.append(_Row(reader.line_num, dict(zip(names, cells, strict=True))))
    except csv.Error as error:
        raise DataError(f"{table} line {reader.line_num} is no CSV: {error}") from error
    if not rows:
        raise DataError(f"{table} has no rows: write one an image below the columns' names")
    return names, rows


def _check_columns(table: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1 and name in _KNOWN})
    if twice:
        raise DataError(f"{table} has two columns '{twice[0]}': keep one of them")
    if "path" not in names:
        raise DataError(f"{table} has no column 'path', but {_listed(names)}: {_WANTED}")


def _answer_column(table: Path, names: Sequence[str]) -> str:
    found = [name for name in (*ONE_CLASS, MANY_LABELS) if name in names]
    if not found:
        raise DataError(
            f"{table} has no column 'class_name' or 'labels', but {_listed(names)}: {_WANTED}"
        )
    if len(found) > 1:
        raise DataError(f"{table} has the columns {_listed(found)}: keep the one that is meant")
    return found[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:LONGEST_NAME]) for name in names)


def _check_cells(table: Path, line: int, names: Sequence[str], cells: Sequence[str]) -> None:
    if len(cells) != len(names):
        raise DataError(
            f"{table} line {line} has {len(cells)} fields, but there are {len(names)} columns:"
            " put text that has a comma in it between quotation marks"
        )
    for name, cell in zip(names, cells, strict=True):
        if name in _KNOWN and any(mark in cell for mark in "\n\r\0"):
            raise DataError(
                f"{table} line {line} has a line break or zero byte in '{name}':"
                " is a quotation mark missing?"
            )


def _check_paths(table: Path, rows: Sequence[_Row]) -> None:
    lines: dict[str, int] = {}
    for row in rows:
        cell = row.cells["path"]
        if not cell.strip():
            raise DataError(f"{table} line {row.line} has no path: name a file, or take it away")
        first = lines.setdefault(os.path.normpath(table.parent / cell), row.line)
        if first != row.line:
            raise DataError(
                f"{table} lines {first} and {row.line} are both about"
                f" {cell[:LONGEST_NAME]!r}: keep one of them"
            )


def _splits(table: Path, rows: Sequence[_Row]) -> list[str]:
    """Returns the split of each row: of all of them, or of none."""
    given = [row.cells.get("split", "").strip() for row in rows]
    if not any(given):
        return given
    for row, cell in zip(rows, given, strict=True):
        if not cell:
            raise DataError(
                f"{table} line {row.line} has no split, but others have one:"
                " give every row its split, or none"
            )
        if cell.lower() not in SPLIT_FOLDERS:
            raise DataError(
                f"{table} line {row.line} has the split {cell[:LONGEST_NAME]!r}:"
                f" write one of {', '.join(SPLIT_FOLDERS)}"
            )
    splits = [SPLIT_FOLDERS[cell.lower()] for cell in given]
    if "train" not in splits:
        raise DataError(f"{table} has no row of the split train: there is nothing to train on")
    return splits


def _class_names(table: Path, row: _Row, column: str) -> tuple[str, ...]:
    """Returns the names in natural order; one that stands there twice counts once."""
    cell = row.cells[column]
    if column == MANY_LABELS and not cell.strip():
        return ()
    parts = cell.split(SEPARATOR) if column == MANY_LABELS else [cell]
    names = {part.strip() for part in parts}
    if "" in names:
        what = "an empty name among its labels" if column == MANY_LABELS else f"no {column}"
        raise DataError(f"{table} line {row.line} has {what}: write a name, or take the row away")
    longest = max(names, key=len)
    if len(longest) > LONGEST_NAME:
        raise DataError(
            f"{table} line {row.line} has a name of {len(longest)} characters in '{column}',"
            f" which begins {longest[:20]!r}: {LONGEST_NAME} are the most"
        )
    return tuple(sorted(names, key=natural_order))


def _notes(names: Sequence[str], column: str, files: Sequence[File]) -> tuple[str, ...]:
    """Says what was taken for granted."""
    many = column == MANY_LABELS
    notes = [f"{'many labels' if many else 'one class an image'}: column '{column}'"]
    others = [name for name in names if name not in _KNOWN]
    if others:
        notes.append(f"columns passed over: {_listed(others)}")
    unlabelled = sum(not file.class_names for file in files)
    if unlabelled:
        notes.append(f"images without any label: {unlabelled}")
    if not many and any(SEPARATOR in file.class_names[0] for file in files):
        notes.append(
            f"class names with '{SEPARATOR}' in them are taken as one: many labels go into a"
            f" column '{MANY_LABELS}'"
        )
    return tuple(notes)
