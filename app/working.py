"""What surrounds the work in a directory: a lock, a log, a word on its time and on being stopped.

Standard library only.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import RunError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_log = logging.getLogger("graft")


def duration(seconds: float) -> str:
    """Writes how long something takes as one says it: `45 s`, `20 minutes`, `3.5 hours`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keeps other processes from working in a directory; see `Run.locked`."""
    with (directory / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{directory} is being trained by another process: wait for it, or stop it"
            ) from None
        for left in directory.rglob(".partial-*"):  # of processes that were killed
            if left.is_file():
                left.unlink()
        yield


@contextmanager
def logged(file: Path) -> Iterator[None]:
    """Writes what is said meanwhile to a file too."""
    handler = _LogFile(file, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = _log.level
    _log.setLevel(logging.INFO)  # whatever a program that calls us shows of it
    _log.addHandler(handler)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)
        with suppress(OSError):  # what it could not write was said when it tried
            handler.close()


@contextmanager
def said_if_stopped(directory: Path) -> Iterator[None]:
    """Says how to go on with what was stopped by Ctrl-C, or by a full disk."""
    try:
        yield
    except KeyboardInterrupt:
        if directory.is_dir():  # else it was stopped before it could begin
            _log.warning("stopped: go on with the same command and --resume %s", directory)
        raise
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise RunError(
            f"{directory} cannot be written ({error.strerror}): make room,"
            f" then go on with the same command and --resume {directory}"
        ) from error


@contextmanager
def many_networks() -> Iterator[None]:
    """Leaves out what TensorFlow says of tracing much: networks are traced one after the other."""
    log = logging.getLogger("tensorflow")
    log.addFilter(_is_no_retracing)
    try:
        yield
    finally:
        log.removeFilter(_is_no_retracing)


@contextmanager
def talk_held_back() -> Iterator[None]:
    """Holds back what libraries write to standard error, and shows it only if something fails."""
    import tempfile  # takes longer to import than anything else here

    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _is_no_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


class _LogFile(logging.FileHandler):
    """A log that cannot be written stops a run like any other of its files."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        raise
