"""A connection that does not wait for ever: uvicorn's own protocol has no limit of this kind."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.serving.limits import Limits

_MOST_HEADERS = 1 << 16  # bytes
_JSON = "content-type: application/json\r\nconnection: close\r\n"


def patient(limits: Limits) -> type[asyncio.Protocol]:
    """Returns a protocol of these limits: uvicorn makes one of the class for each connection."""
    return type("Patient", (_Patient,), {"limits": limits})


class _Patient(HttpToolsProtocol):
    """Closes connections of senders, and of readers, that are too slow.

    The first lines of a request have `limits.headers` seconds, from the first byte or from
    when the connection is made, and 64 KiB. All of it has twice `limits.receiving`: by then
    who asked has been answered, and what still comes is read only to be thrown away. An answer
    has `limits.receiving` to be read. Trailers, and requests before the last one is answered, end
    the connection.
    """

    limits: ClassVar[Limits]
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _inside = False
    _counted = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait(self.limits.headers)
        if len(self.connections) > self.limits.connections:
            self._refuse("503 Service Unavailable", "too many connections are open")

    def data_received(self, data: bytes) -> None:
        if self._timer is None:
            self._wait(self.limits.headers)
        self._counted += len(data)
        if not self._inside and self._counted > _MOST_HEADERS + len(data):
            self._give_up()
            return
        super().data_received(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._inside:  # a trailer, of which nobody needs any
            self._give_up()
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        first = self.cycle
        self._inside = True
        self._wait(2 * self.limits.receiving)
        super().on_headers_complete()
        if self.pipeline:  # nobody asks again before the answer is there, but to do harm
            first.disconnected = True
            first.message_event.set()
            self._give_up()

    def on_message_complete(self) -> None:
        self._inside, self._counted = False, 0
        self._stop_waiting()
        super().on_message_complete()
        if self.cycle.response_complete:  # it was answered before its body came
            self._wait(self.limits.headers)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.receiving, self._give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._read_on()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Says in JSON what uvicorn says in a text."""
        self._refuse("400 Bad Request", f"the request is no HTTP: {msg}")

    def _refuse(self, status: str, error: str) -> None:
        body = json.dumps({"error": error}).encode()
        head = f"HTTP/1.1 {status}\r\n{_JSON}content-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _read_on(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up(self) -> None:
        self._stop_waiting()
        self._read_on()
        self.transport.abort()  # closing would wait until all that is written has been read
