"""Small collections of features that tests keep, use and remove."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from app.features.cache import open_collection

HOLD = """
import sys
from app.features.cache import open_collection
with open_collection({"backbone": sys.argv[1]}, int(sys.argv[2])):
    print("open", flush=True)
    sys.stdin.read()
"""


def keep(name: str, rows: int = 100, width: int = 50, days_ago: float = 0.0) -> Path:
    """Keeps 108 bytes a row; `days_ago` says when it was last used."""
    with open_collection({"backbone": name}, width) as collection, collection.adding() as add:
        add(np.arange(rows), np.ones((rows, width)))
    then = time.time() - 86_400 * days_ago
    os.utime(collection.folder / ".lock", (then, then))
    return collection.folder


@contextmanager
def in_use(name: str, width: int = 50) -> Iterator[subprocess.Popen[str]]:
    """Lets another process use a collection for as long as the context lasts."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, name, str(width)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        yield process
        if process.poll() is None:
            process.communicate()


def wait_for(happened: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits for what another process does."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.001)
