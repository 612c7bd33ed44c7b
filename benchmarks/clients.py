"""What clients of `graft serve` need: one that runs."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GRAFT = [sys.executable, "-c", "from app.cli import graft; graft()", "serve"]


@dataclass(frozen=True)
class Started:
    """A process that serves.

    Attributes:
        process: Its output is what it says from now on.
        told: What it said until it listened.
        port: Of HTTP.
        grpc_port: Of gRPC.
    """

    process: subprocess.Popen[str]
    told: str
    port: int
    grpc_port: int

    @property
    def megabytes(self) -> float:
        """Memory that it holds."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def serving(*words: str | Path) -> Iterator[Started]:
    """Starts `graft serve` on ports that are free; when the block ends, so does it."""
    command = [*GRAFT, *map(str, words), "--port", "0", "--grpc-port", "0"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONUNBUFFERED", None)  # what it says must come without that
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    try:
        assert process.stdout
        told = ""
        while "http://" not in told:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"it ended: {told}")
            told += line
        ports = [int(port) for port in re.findall(r":(\d+)$", told, re.MULTILINE)]
        yield Started(process, told, ports[-1], ports[-2])
    finally:
        process.kill()
        process.communicate()
