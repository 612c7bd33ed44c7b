"""Checkpoints from which a killed run goes on as if nothing had happened.

Each is one file, written whole: an uncompressed `.npz` with every array and a small
JSON state, followed by the SHA-256 of all that. The last two are kept, so that a file
that was torn or has flipped bits leaves one to fall back to.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import NoRoomError, RunError
from app.files import whole_file

KEPT = 2
_STATE = "state"
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stood.

    Attributes:
        state: What JSON can hold, such as stage, epoch, step and counters.
        arrays: Every variable, by name.
    """

    state: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._written: list[Path] = []

    def write(self, number: int, checkpoint: Checkpoint) -> None:
        """Writes one, and removes all but the last two.

        Args:
            number: Steps since the run began; higher ones are newer.
            checkpoint: What to write.

        Raises:
            RunError: If it cannot be written, such as on a full disk; what was there stays.
        """
        state = json.dumps(checkpoint.state).encode()
        with _said_if_unwritable(self._folder), whole_file(self._path(number)) as temporary:
            with temporary.open("wb") as file:
                np.savez(file, **{_STATE: np.frombuffer(state, "uint8")}, **checkpoint.arrays)  # type: ignore[arg-type]  # numpy's own name for an argument is not used
            with temporary.open("ab") as file:
                file.write(_digest(temporary.read_bytes()))
        self._written = [*self._written, self._path(number)][-KEPT:]
        if len(self._written) == KEPT:  # those of before a restart may be damaged
            for path in set(self._paths()) - set(self._written):
                path.unlink(missing_ok=True)

    def latest(self) -> Checkpoint | None:
        """Reads the newest that is sound; None if there is none."""
        paths = self._paths()
        for path in reversed(paths):
            checkpoint = _read(path)
            if checkpoint:
                return checkpoint
        if paths:
            _log.warning("no checkpoint is sound: training begins anew")
        return None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.npz"

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.npz"))


def _read(path: Path) -> Checkpoint | None:
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}): make it readable") from error
    if len(contents) < 32 or _digest(contents[:-32]) != contents[-32:]:
        _log.warning("%s is damaged: it is not used", path)
        return None
    with np.load(io.BytesIO(contents[:-32]), allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    return Checkpoint(json.loads(found.pop(_STATE).tobytes()), found)


def _digest(contents: bytes) -> bytes:
    return hashlib.sha256(contents).digest()


@contextmanager
def _said_if_unwritable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NoRoomError(
            f"{folder} cannot be written ({error.strerror}): what was in it is whole;"
            " mend that, then go on with --resume"
        ) from error
