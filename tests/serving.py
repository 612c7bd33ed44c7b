"""A real server in a process of its own, and a client of few words."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRAFT = [sys.executable, "-c", "from app.cli import graft; graft()"]


@dataclass
class Server:
    """`graft serve`, and what it said."""

    process: subprocess.Popen[str]
    told: str
    port: int
    grpc_port: int

    def get(self, path: str) -> tuple[int, Any]:
        return self._ask(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Sends bytes as they are, and anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data))

    def _ask(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, body, headers = answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            status, body, headers = error.code, error.read(), error.headers
        plain = "json" in headers.get("content-type", "")
        return status, json.loads(body) if plain else body.decode()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def kibibytes(self) -> int:
        """Memory that it holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)


def answer_on(connection: socket.socket) -> tuple[int, Any]:
    """Reads the answer to what was sent by hand."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, json.loads(answer.read())


@contextlib.contextmanager
def serving(*words: str | Path) -> Iterator[Server]:
    """Starts `graft serve` on free ports; when the block ends, so does it."""
    command = [*GRAFT, "serve", *map(str, words), "--port", "0", "--grpc-port", "0"]
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
            assert line, f"it ended: {told}"
            told += line
        ports = [int(port) for port in re.findall(r":(\d+)$", told, re.MULTILINE)]
        yield Server(process, told, ports[-1], ports[-2])
    finally:
        process.kill()
        process.communicate()
