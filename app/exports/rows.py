"""Rows of answers as CSV, and the file that a stopped prediction goes on with.

Until the last row is there, `x.csv` is written as `.x.csv.<fingerprint of the export>.partial`
beside it, a batch at a time, so that whatever stops the process leaves whole batches and at
most one that is cut off. Its name is hidden, since it may lie among the files that are asked
about. Standard library only.
"""

from __future__ import annotations

import csv
import fcntl
import glob
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from app.errors import ExportError
from app.exports.places import fingerprint

Item = TypeVar("Item")
_ERROR = 3  # the column of it
_WAY_OUT = "name the same files again, or remove it to begin anew"


@dataclass(frozen=True)
class Tally:
    """What has been answered.

    Attributes:
        files: How many.
        unreadable: Those among them that could not be read.
    """

    files: int = 0
    unreadable: int = 0


def header(class_names: Sequence[str]) -> list[str]:
    """Returns the names of the columns."""
    return ["file", "label", "probability", "error", *(f"probability_{n}" for n in class_names)]


def line(row: Sequence[str]) -> str:
    """Writes one row as CSV that ends with a line feed."""
    text = io.StringIO()
    # Python quotes no carriage return, and cannot read it again, unless one ends the lines.
    csv.writer(text, lineterminator="\r\n").writerow(row)
    return text.getvalue().removesuffix("\r\n") + "\n"


def batches_of(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Divides what comes into lists of one size; the last may be shorter."""
    return iter(lambda: list(itertools.islice(items, size)), [])


def partial_of(output: Path, export: Path) -> Path:
    """Returns where answers of an export are kept until they are complete.

    Raises:
        ExportError: If those of another export are there.
    """
    partial = output.with_name(f".{output.name}.{fingerprint(export)}.partial")
    pattern = f".{glob.escape(output.name)}.{'[0-9a-f]' * 12}.partial"
    for other in output.parent.glob(pattern):
        if other != partial:
            raise ExportError(
                f"{other} was begun with another export than {export}: go on with that one, or"
                " remove the file to begin anew"
            )
    return partial


@contextmanager
def unfinished(
    partial: Path, output: Path, complete: Callable[[Path, Path], object] = Path.replace
) -> Iterator[BinaryIO]:
    """Yields the file to read and add to, which becomes `output` on success.

    Args:
        partial: The file.
        output: What is to be there in the end.
        complete: Makes the second of the first.

    Raises:
        ExportError: If it cannot be written, or another process is writing it.
    """
    try:
        with partial.open("a+b") as file:
            _lock(file, partial)
            file.seek(0)
            yield file
            keep(file)
            complete(partial, output)
    except OSError as error:
        raise ExportError(
            f"{partial} cannot be written ({error.strerror}): make room, or allow it; the same"
            " command then goes on"
        ) from error


def keep(file: BinaryIO) -> None:
    """Makes sure that what was written outlives a power cut."""
    file.flush()
    os.fsync(file.fileno())


def go_on(
    file: BinaryIO, columns: Sequence[str], paths: Iterator[Path], batch: int
) -> tuple[Tally, Iterator[Path]]:
    """Goes over the answers that are there, and cuts off what is no whole batch.

    Args:
        file: From `unfinished`; empty when nothing was answered before.
        columns: The header; written if the file has none.
        paths: Everything to be answered, in order.
        batch: Files a batch. A batch answered in two parts could be rounded otherwise.

    Returns:
        What is answered, and the paths that are not.

    Raises:
        ExportError: If the file has other columns, or answers other paths.
    """
    rows = _whole_rows(file)
    found, end = next(rows, ([], 0))
    if found and found != columns:
        raise ExportError(f"{file.name} has other columns: remove it to begin anew")
    done = Tally()
    left: Iterator[Path] = iter(())
    for asked in batches_of(paths, batch):
        answered = list(itertools.islice(rows, len(asked)))
        _check_paths(file.name, done.files, asked, [row[0] for row, _ in answered])
        if len(answered) < len(asked):
            left = itertools.chain(asked, paths)
            break
        errors = sum(bool(row[_ERROR]) for row, _ in answered)
        done = Tally(done.files + len(asked), done.unreadable + errors)
        end = answered[-1][1]
    else:
        if next(rows, None):
            raise ExportError(f"{file.name} has answers of more files: {_WAY_OUT}")
    file.truncate(end)
    if not found:
        file.write(line(columns).encode(errors="surrogateescape"))
    return done, left


def _check_paths(name: str, before: int, asked: Iterable[Path], answered: Sequence[str]) -> None:
    for number, (path, there) in enumerate(zip(asked, answered, strict=False), before + 1):
        if there != str(path):
            raise ExportError(
                f"{name} was begun with other files (its row {number} answers {there}, and now"
                f" {path} is asked for): {_WAY_OUT}"
            )


def _whole_rows(file: BinaryIO) -> Iterator[tuple[list[str], int]]:
    """Yields rows that were written to their end, and the byte behind each."""
    end, last, width = 0, b"", None

    def lines() -> Iterator[str]:
        nonlocal end, last
        for last in file:
            end += len(last)
            yield last.decode(errors="surrogateescape")

    try:
        for row in csv.reader(lines(), strict=True):
            if not last.endswith(b"\n") or (width is not None and len(row) != width):
                return
            width = len(row)
            yield row, end
    except csv.Error:  # the end of a row that is cut off inside quotes
        return


def _lock(file: BinaryIO, partial: Path) -> None:
    """Keeps others from adding to the file; a process that dies lets go."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it until now may just have finished, and given it its name.
        is_ours = partial.exists() and os.path.samestat(os.fstat(file.fileno()), partial.stat())
    except BlockingIOError:
        is_ours = False
    if not is_ours:
        raise ExportError(f"{partial} is being written by another process: wait for it, or stop it")
