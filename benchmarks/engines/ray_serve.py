"""Ray Serve. Start: `python ray_serve.py PORT`.

One replica with two threads that decode and two batches at once: TensorFlow lets go of the
interpreter's lock, and a second replica would hold the model twice.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Before Ray is imported: no lower priority than the other engines have, and less by the way.
os.environ.update(RAY_worker_niceness="0", RAY_SERVE_THROUGHPUT_OPTIMIZED="1")

import ray
from network import BATCH, QUEUE, Network
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=2 * BATCH,
    max_queued_requests=QUEUE - 2 * BATCH,
    graceful_shutdown_timeout_s=30,
    ray_actor_options={"num_cpus": 1},
)
class Classifier:
    """Decodes and answers."""

    def __init__(self) -> None:
        self.network = Network()
        self.decoding, self.answering = ThreadPoolExecutor(2), ThreadPoolExecutor(2)

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0, max_concurrent_batches=2)
    async def answer(self, pixels: list[Any]) -> list[bytes]:
        """Answers a batch."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.answering, self.network.answer, pixels)

    async def __call__(self, request: Request) -> Response:
        """Answers one image."""
        loop, body = asyncio.get_running_loop(), await request.body()
        pixels = await loop.run_in_executor(self.decoding, self.network.decode, body)
        return Response(await self.answer(pixels))


def main() -> None:
    """Serves until told to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1]), "request_timeout_s": 30}
    )
    serve.run(Classifier.bind(), route_prefix="/classify")
    stop.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
