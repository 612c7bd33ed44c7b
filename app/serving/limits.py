"""How much a server takes, and how long it waits. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What bounds the memory and the patience of a server.

    Attributes:
        deadline: Seconds that a request may take, once its last byte is here.
        rows: Images inside at a time.
        body: Bytes of one request over HTTP.
        message: Bytes of one over gRPC. They are counted once they are here, so that `calls`
            times as many may be in memory.
        bodies: Bytes of all requests that are in memory.
        receiving: Seconds that a body may take to come.
        headers: Seconds that the first lines of a request may take to come.
        connections: Open at a time; more are told so, and closed.
        calls: Of gRPC, at a time.
        leaving: Seconds that requests are still taken when the server is to stop, and says that it
            is not ready, so that a balancer can leave it out.
        draining: Seconds that requests have to be answered when the server stops.
    """

    deadline: float = 5.0
    rows: int = 512
    body: int = 32 * MIB
    message: int = 16 * MIB
    bodies: int = 128 * MIB
    receiving: float = 30.0
    headers: float = 10.0
    connections: int = 1000
    calls: int = 128
    leaving: float = 1.0
    draining: float = 30.0
