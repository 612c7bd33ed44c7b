"""A real server in a process of its own, and a client of few words."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

sys.path[:0] = [str(ROOT / "benchmarks")]
import clients  # noqa: E402  # scripts find what they share beside them, and so must this file


class Server(clients.Started):
    """`graft serve`, and what it answers."""

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
    # Other tests may keep the machine busy for as long as a deadline is otherwise.
    patience = () if "--deadline" in words else ("--deadline", "60")
    with clients.serving(*words, *patience) as started:
        yield Server(**vars(started))
