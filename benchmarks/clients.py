"""What clients of `graft serve` need: one that runs, and the bytes of requests and answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GRAFT = [sys.executable, "-c", "from app.cli import graft; graft()", "serve"]


@dataclass(frozen=True)
class Server:
    """A process that serves.

    Attributes:
        process: Its number.
        port: Of HTTP.
        grpc_port: Of gRPC.
    """

    process: int
    port: int
    grpc_port: int

    @property
    def megabytes(self) -> float:
        """Memory that it holds."""
        pages = Path(f"/proc/{self.process}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def serving(export: Path, *options: str) -> Iterator[Server]:
    """Starts `graft serve` on ports that are free, and stops it."""
    words = [*GRAFT, str(export), "--port", "0", "--grpc-port", "0", *options]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout
        told = ""
        while "http://" not in told:
            line = process.stdout.readline()
            if not line:
                errors.seek(0)
                raise SystemExit(errors.read()[-2000:])
            told += line
        ports = [int(number) for number in re.findall(r":(\d+)$", told, re.MULTILINE)]
        try:
            yield Server(process.pid, ports[-1], ports[-2])
        finally:
            process.terminate()
            process.wait(60)


def request(path: str, body: bytes) -> bytes:
    """Writes a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Reads an answer: its status and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    lengths = [line for line in lines if line.lower().startswith("content-length:")]
    body = await reader.readexactly(int(lengths[0].split(":")[1]))
    return int(lines[0].split()[1]), body.decode(errors="replace")
