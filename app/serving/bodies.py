"""Bodies of requests, in memory no longer than they are needed, and never too many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from app.serving.admission import Gate
from app.serving.errors import BadRequestError, TooLargeError, TooSlowError
from app.serving.limits import MIB, Limits


@asynccontextmanager
async def body_of(request: Request, gate: Gate, limits: Limits) -> AsyncIterator[bytes]:
    """Reads the body of a request, and counts it until the block ends.

    Args:
        request: Its `state.read` becomes the time when its last byte was here.
        gate: Counts bytes.
        limits: Say how large a body may be, and how long it may take.

    Raises:
        TooLargeError: If it is larger.
        TooSlowError: If it takes longer.
        BusyError: If those of other requests leave no room for it.
        BadRequestError: If it is empty.
    """
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said[:20]) > limits.body:
        raise _too_large(limits)
    body, count = bytearray(), 0
    try:
        try:
            async with asyncio.timeout(limits.receiving):
                async for part in request.stream():
                    gate.hold(len(part))
                    count += len(part)
                    body += part
                    if count > limits.body:
                        raise _too_large(limits)
        except TimeoutError as error:
            reason = f"the body did not come within {limits.receiving:g} seconds"
            raise TooSlowError(reason) from error
        request.state.read = time.monotonic()
        if not body:
            raise BadRequestError(_nothing(request))
        contents = bytes(body)
        body.clear()  # not twice in memory
        yield contents
    finally:
        gate.release(count)


def _nothing(request: Request) -> str:
    if "upgrade" in request.headers:  # the parser takes what follows for another protocol
        return "the body is not read after a header Upgrade: send none, such as by HTTP/1.1 alone"
    return "the body is empty: send the bytes of an image file, or JSON"


def _too_large(limits: Limits) -> TooLargeError:
    return TooLargeError(f"the body is larger than {limits.body // MIB} MiB: send less at a time")
