"""MLServer. Start: `python seldon.py PORT`.

One process with two threads that decode and two that answer. A handler of its own takes the raw
body; the batcher merges V2 requests only, so pixels travel through it as bytes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from fastapi import Request, Response
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.context import model_context
from mlserver.handlers import custom_handler
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, ResponseOutput
from network import BATCH, Network

WAIT = float(os.environ.get("MLSERVER_WAIT", "0.002"))  # how long a batch waits, idle or not


class Classifier(MLModel):
    """Decodes and answers."""

    async def load(self) -> bool:
        """Loads the export."""
        self.network = Network()
        self.decoding, self.answering = ThreadPoolExecutor(2), ThreadPoolExecutor(2)
        return True

    @custom_handler(rest_path="/classify")
    async def classify(self, request: Request) -> Response:
        """Answers one image."""
        loop, body = asyncio.get_running_loop(), await request.body()
        pixels = await loop.run_in_executor(self.decoding, self.network.decode, body)
        one = RequestInput(name="pixels", shape=[1], datatype="BYTES", data=[pixels.tobytes()])
        with model_context(self.settings):  # the batcher counts for a model
            said = await self.predict(InferenceRequest(inputs=[one]))
        return Response(said.outputs[0].data.root[0])

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers a batch."""
        shape = (224, 224, 3)
        pixels = [
            np.frombuffer(one, np.uint8).reshape(shape) for one in payload.inputs[0].data.root
        ]
        loop = asyncio.get_running_loop()
        said = await loop.run_in_executor(self.answering, self.network.answer, pixels)
        output = ResponseOutput(name="said", shape=[len(said)], datatype="BYTES", data=said)
        return InferenceResponse(model_name=self.name, outputs=[output])


def main() -> None:
    """Serves until told to stop."""
    port = int(sys.argv[1])
    settings = Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=port + 1,
        metrics_port=port + 2,
        parallel_workers=0,
        debug=False,
    )
    model = ModelSettings(
        name="flowers",
        implementation=Classifier,
        max_batch_size=BATCH,
        max_batch_time=WAIT,
        parameters=ModelParameters(version="1"),
    )

    async def serve() -> None:  # signals go to the loop in which the server is made
        await MLServer(settings).start([model])

    asyncio.run(serve())


if __name__ == "__main__":
    main()
