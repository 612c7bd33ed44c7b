"""Checkpoints from which a killed run goes on as if nothing had happened.

Each is one file, written whole: an uncompressed `.npz` with every array and a small
JSON state, followed by the SHA-256 of all that. The last two are kept, with the best
weights that they speak of, so that a file that was torn or has flipped bits leaves one
to fall back to.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import RunError
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
    """The checkpoints of one run, and its best weights."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._written: list[tuple[Path, dict[str, str] | None]] = []

    def write(self, number: int, checkpoint: Checkpoint) -> None:
        """Writes one, and removes what the last two do not need.

        Args:
            number: Steps since the run began; higher ones are newer.
            checkpoint: Its state names the best weights as `best` (or has None there).

        Raises:
            RunError: If it cannot be written, such as on a full disk; what was there stays.
        """
        state = json.dumps(checkpoint.state).encode()
        with _said_if_unwritable(self._folder), whole_file(self._path(number)) as temporary:
            with temporary.open("wb") as file:
                np.savez(file, **{_STATE: np.frombuffer(state, "uint8")}, **checkpoint.arrays)  # type: ignore[arg-type]  # numpy's own name for an argument is not used
            with temporary.open("ab") as file:
                file.write(_digest(temporary.read_bytes()))
        self._written.append((self._path(number), checkpoint.state["best"]))
        self._remove_old()

    def latest(self) -> Checkpoint | None:
        """Reads the newest that is sound, its best weights included; None if there is none."""
        for path in reversed(self._paths()):
            damage, checkpoint = self._read(path)
            if checkpoint:
                return checkpoint
            _log.warning("%s %s: the checkpoint before it is used", path, damage)
        return None

    def write_best(self, number: int, save: Callable[[Path], None]) -> dict[str, str]:
        """Writes the best weights so far.

        Args:
            number: Steps since the run began.
            save: Writes the weights to the path that it gets.

        Returns:
            Name and hash, to be kept in the state of every checkpoint that follows.

        Raises:
            RunError: If they cannot be written.
        """
        path = self._folder / f"best-{number:08d}.weights.h5"
        with _said_if_unwritable(self._folder), whole_file(path) as temporary:
            save(temporary)
            digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        return {"name": path.name, "sha256": digest}

    def best(self, named: Mapping[str, str]) -> Path:
        """Returns where the best weights lie that a state names."""
        return self._folder / named["name"]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.npz"

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.npz"))

    def _read(self, path: Path) -> tuple[str, Checkpoint | None]:
        try:
            contents = path.read_bytes()
        except OSError as error:
            return f"cannot be read ({error.strerror})", None
        if len(contents) < 32 or _digest(contents[:-32]) != contents[-32:]:
            return "is damaged", None
        with np.load(io.BytesIO(contents[:-32]), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        state = json.loads(found.pop(_STATE).tobytes())
        if not self._has_best(state["best"]):
            return f"speaks of {state['best']['name']}, which is missing or damaged", None
        return "", Checkpoint(state, found)

    def _has_best(self, named: Mapping[str, str] | None) -> bool:
        if named is None:
            return True
        try:
            contents = self.best(named).read_bytes()
        except OSError:
            return False
        return hashlib.sha256(contents).hexdigest() == named["sha256"]

    def _remove_old(self) -> None:
        """Leaves the last two checkpoints, and best weights no older than those they name."""
        self._written = self._written[-KEPT:]
        if len(self._written) < KEPT:
            return
        kept = {path for path, _ in self._written}
        oldest_best = min(best["name"] if best else "" for _, best in self._written)
        old = [path for path in self._paths() if path not in kept]
        old += [p for p in self._folder.glob("best-*.weights.h5") if p.name < oldest_best]
        for path in old:
            path.unlink(missing_ok=True)


def _digest(contents: bytes) -> bytes:
    return hashlib.sha256(contents).digest()


@contextmanager
def _said_if_unwritable(folder: Path) -> Iterator[None]:
    """What HDF5 raises for a full disk depends on when it notices."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RunError(
            f"{folder} cannot be written ({reason}): the last checkpoint in it is whole;"
            " make room, then go on from it with --resume"
        ) from error
