"""TensorFlow's own batching operation behind Starlette. Start: `python FILE PORT`.

A batch timeout of 0: what waits is taken as soon as one of the two batch threads is free. The
caller's thread sleeps in the operation, hence as many threads as requests may be inside.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf
import uvicorn
from network import BATCH, QUEUE, Network, json_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Batching:
    """One version of a model with a queue of its own."""

    def __init__(self, network: Network) -> None:
        self.network, name = network, f"graft_{uuid.uuid4().hex}"
        body = tf.function(
            lambda pixels: network.loaded._answer(pixels), input_signature=[self._pixels(None)]
        ).get_concrete_function()
        kinds = [each.dtype for each in body.outputs]

        def batched(pixels: tf.Tensor) -> list[tf.Tensor]:
            return tf.raw_ops.BatchFunction(
                in_tensors=[pixels],
                captured_tensors=body.captured_inputs,
                f=body,
                Tout=kinds,
                num_batch_threads=2,
                max_batch_size=BATCH,
                batch_timeout_micros=0,
                max_enqueued_batches=QUEUE // BATCH,
                shared_name=name,
            )

        self.call = tf.function(
            batched, input_signature=[self._pixels(1)], autograph=False
        ).get_concrete_function()

    @staticmethod
    def _pixels(size: int | None) -> tf.TensorSpec:
        return tf.TensorSpec([size, 224, 224, 3], tf.uint8)

    def answer(self, pixels: tf.Tensor) -> bytes | None:
        """Answers one image; None if the queue is full."""
        try:
            found = self.call(tf.constant(pixels[None]))
        except tf.errors.UnavailableError:
            return None
        rows = (each.numpy()[0] for each in found)
        said = dict(zip(self.network.loaded._outputs, rows, strict=True))
        return json_of(said["label"], said["probabilities"].tolist())


def main() -> None:
    """Serves until told to stop."""
    network = Network()
    batching = Batching(network)
    decoding, waiting = ThreadPoolExecutor(2), ThreadPoolExecutor(2 * QUEUE)

    async def classify(request: Request) -> Response:
        loop, body = asyncio.get_running_loop(), await request.body()
        pixels = await loop.run_in_executor(decoding, network.decode, body)
        answer = await loop.run_in_executor(waiting, batching.answer, pixels)
        return Response(answer or b"too busy", 200 if answer else 503)

    app = Starlette(routes=[Route("/classify", classify, methods=["POST"])])
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
