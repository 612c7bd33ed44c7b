"""Clients that ask over HTTP: `python load.py PORT CLIENTS SECONDS IMAGE...`, JSON out.

Each has a connection of its own that stays open, and asks again when it has its answer; a
quarter of a second later if it was refused. The first second does not count.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

WARM_UP, BACK_OFF, PATIENCE = 1.0, 0.25, 60.0


def request(path: str, body: bytes, kind: str = "image/jpeg") -> bytes:
    """Writes a request; `kind` is what the body is."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Reads an answer: its status and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if length := re.search(rb"content-length: *(\d+)", head):
        body = await reader.readexactly(int(length[1]))
    else:
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    return int(head[9:12]), body


async def client(port: int, requests: list[bytes], offset: int, end: float) -> list[Any]:
    """Asks until the end; lists when it asked, how long that took, and the status."""
    found, reader, writer = [], None, None
    while (start := time.perf_counter()) < end:
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(requests[offset % len(requests)])
            status, _ = await asyncio.wait_for(answer(reader), PATIENCE)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            status = 0
            if writer is not None:
                writer.close()
            writer = None
        found.append((start, time.perf_counter() - start, status))
        offset += 1
        if status != 200:
            await asyncio.sleep(BACK_OFF)
    if writer is not None:
        writer.close()
    return found


def _at(times: list[float], share: float) -> float | None:
    return sorted(times)[min(int(len(times) * share), len(times) - 1)] if times else None


async def load(port: int, clients: int, seconds: float, images: list[bytes]) -> dict[str, Any]:
    """Runs the clients."""
    requests = [request("/classify", image) for image in images]
    begin, cpu = time.perf_counter() + WARM_UP, time.process_time()
    end = begin + seconds
    each = [client(port, requests, 7 * i, end) for i in range(clients)]
    found = [row for rows in await asyncio.gather(*each) for row in rows]
    answers = sum(status == 200 for _, _, status in found)
    found = [row for row in found if row[0] > begin]
    served = [took for _, took, status in found if status == 200]
    refused = [took for _, took, status in found if status in (429, 503)]
    in_time = sum(status == 200 and start + took < end for start, took, status in found)
    return {
        "rate": in_time / seconds,
        "p50": _at(served, 0.5),
        "p99": _at(served, 0.99),
        "served": len(served),
        "answers": answers,
        "refused": len(refused),
        "refused_p50": _at(refused, 0.5),
        "failed": len(found) - len(served) - len(refused),
        "cpu": (time.process_time() - cpu) / (time.perf_counter() - begin + WARM_UP),
    }


def main() -> None:
    """Prints what `load` found."""
    images = [Path(path).read_bytes() for path in sys.argv[4:]]
    found = asyncio.run(load(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), images))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
