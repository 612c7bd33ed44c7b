"""An export behind Ray Serve: copies of it on all machines of a cluster.

GRAFT_EXPORT=$PWD/saved_models/folder serve run docs.serving.ray_serve:app
curl --data-binary @photo.jpg http://127.0.0.1:8000/
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


@serve.deployment(num_replicas=2, max_ongoing_requests=64, ray_actor_options={"num_cpus": 1})
class Classifier:
    """One copy of an export."""

    def __init__(self, export: str) -> None:
        """Loads it, with nothing but TensorFlow."""
        from app import verbs

        loaded = verbs.load("app.exports.loaded", without_keras=True)
        loaded.set_up_threads()
        self.export = loaded.Loaded(Path(export))

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.0)
    async def answer(self, images: list[Any]) -> list[dict[str, float]]:
        """Answers what waits as one batch."""
        import numpy as np

        said = await asyncio.to_thread(self.export.answer, np.stack(images))
        names = self.export.class_names
        return [dict(zip(names, row.tolist(), strict=True)) for row in said["probabilities"]]

    async def __call__(self, request: Request) -> Response:
        """Answers a file."""
        image = await asyncio.to_thread(self.export.read, await request.body())
        if isinstance(image, str):
            return JSONResponse({"error": image}, 400)
        return JSONResponse(await self.answer(image))


app = Classifier.bind(os.environ.get("GRAFT_EXPORT", "saved_models/folder"))
