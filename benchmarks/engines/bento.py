"""BentoML. Start: `python bento.py PORT`.

Two workers, as the dispatcher of a worker has one batch at work at a time. BentoML reads no raw
body into a batchable endpoint, so a reader is registered for `image/jpeg`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import bentoml
from _bentoml_impl import serde
from network import BATCH, QUEUE, Network


class RawBody(serde.JSONSerde):
    """A body that is one image."""

    media_type = "image/jpeg"

    async def parse_request(self, request: Any, cls: Any) -> Any:
        """Makes the body a list of one."""
        return cls(images=[await request.body()])


serde.ALL_SERDE[RawBody.media_type] = RawBody


@bentoml.service(workers=2, traffic={"timeout": 30, "max_concurrency": QUEUE}, threads=1)
class Classifier:
    """Decodes and answers."""

    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=2000)
    def classify(self, images: list[bytes]) -> list[str]:
        """Answers a batch."""
        pixels = [self.network.decode(image) for image in images]
        return [answer.decode() for answer in self.network.answer(pixels)]


def main() -> None:
    """Serves until told to stop."""
    command = [sys.executable, "-m", "bentoml", "serve", "bento:Classifier"]
    os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", sys.argv[1]])


if __name__ == "__main__":
    main()
