"""LitServe. Start: `python lit.py PORT`.

Two processes, one core each: an inference loop of LitServe's decodes and answers its batch in
turn, and so uses one core. No `from __future__ import annotations`: LitServe and FastAPI read
the annotations of `decode_request`, by which a raw body is taken at all.
"""

import sys
from typing import Annotated, Any

import litserve
from fastapi import Body, Response
from network import BATCH, Network


class Classifier(litserve.LitAPI):
    """Decodes and answers."""

    def setup(self, device: str) -> None:
        """Loads the export in a worker."""
        self.network = Network()

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> Any:
        """Decodes one image."""
        return self.network.decode(request)

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Keeps the list as it is."""
        return inputs

    def predict(self, x: list[Any]) -> list[bytes]:
        """Answers a batch."""
        return self.network.answer(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """Keeps the list as it is."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """Sends what was written already."""
        return Response(output)


def main() -> None:
    """Serves until told to stop."""
    api = Classifier(max_batch_size=BATCH, batch_timeout=0.002, api_path="/classify")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2, timeout=30)
    port = int(sys.argv[1])
    server.run(
        "127.0.0.1", port, num_api_servers=1, log_level="warning", generate_client_file=False
    )


if __name__ == "__main__":
    main()
