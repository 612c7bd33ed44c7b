"""Who may use a collection of features, and who may remove one. Imports no NumPy.

Whoever uses a collection shares the lock on its `.lock`, whose date is when it was last
used; whoever removes it holds that lock alone. What changes the size of the whole takes
turns by a lock on all collections, so that several processes keep within one limit.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.features.places import PART, unwritable
from app.files import write_whole


@contextmanager
def held(folder: Path, about: str) -> Iterator[None]:
    """Holds a collection, which is made if need be, so that no process removes it.

    What a killed process had half written there is removed; a collection that nothing
    was added to is left nowhere.

    Args:
        folder: Of the collection.
        about: What its `about.json` has to say.

    Raises:
        CacheError: If it cannot be written.
    """
    try:
        descriptor = _locked(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        _describe(folder, about)
        yield
    finally:
        os.utime(descriptor)
        os.close(descriptor)
        _remove_if_empty(folder)


def _locked(folder: Path) -> int:
    """Another process may remove the folder until its lock is held: then again from the start."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            continue
        except FileExistsError:  # it was there, and was gone when `mkdir` looked what it is
            if folder.exists() and not folder.is_dir():
                raise
            continue
        if _takes(descriptor):  # nobody is writing, so what is half written stays so
            for left in folder.glob(".partial-*"):
                left.unlink(missing_ok=True)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _is_at(descriptor, folder / ".lock"):
            os.utime(descriptor)
            return descriptor
        os.close(descriptor)


def _takes(descriptor: int) -> bool:
    """Whether the lock could be had alone; it is, then."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _describe(folder: Path, about: str) -> None:
    file = folder / "about.json"
    try:
        if not file.is_file() or file.read_bytes() != about.encode():
            write_whole(file, about)
    except OSError as error:
        raise unwritable(folder, error) from error


def _remove_if_empty(folder: Path) -> None:
    if _is_empty(folder):
        with alone(folder.parent):
            if _is_empty(folder):  # meanwhile another process may have added to it
                remove(folder)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.glob(f"[0-9]*{PART}"))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time change what is kept; clears up after one that was killed.

    Raises:
        CacheError: If that, or what is done meanwhile, cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for left in folder.glob(".removed-*"):
                shutil.rmtree(left)
            yield
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unwritable(folder, error) from error


def remove(folder: Path) -> bool:
    """Removes a collection unless it is in use; it is gone at once, and its files then."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        if not _takes(descriptor):
            return False
        removed = folder.with_name(f".removed-{secrets.token_hex(8)}")
        folder.rename(removed)
        shutil.rmtree(removed)
        return True
    finally:
        os.close(descriptor)


def use(lock: Path) -> tuple[float, bool]:
    """When a collection was last used, and whether it is now."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return 0.0, False
    try:
        return os.fstat(descriptor).st_mtime, not _takes(descriptor)
    finally:
        os.close(descriptor)
