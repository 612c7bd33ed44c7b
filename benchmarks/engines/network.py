"""The same network for every engine: bytes to pixels, pixels in a batch to answers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 16
QUEUE = 64  # how many may be inside, in the engines that can be told


class Network:
    """An export of graft's, folded, with one thread for each operation."""

    def __init__(self) -> None:
        from app.exports.loaded import Loaded, set_up_threads

        set_up_threads()
        self.loaded = Loaded(Path(os.environ["ENGINES_EXPORT"]))
        self.decode = self.loaded.read
        nothing = np.zeros([self.loaded.size, self.loaded.size, 3], np.uint8)
        for size in (*range(1, BATCH + 1), 1):  # the first of each size is slow
            self.answer([nothing] * size)

    def answer(self, pixels: Sequence[Any]) -> list[bytes]:
        """Answers decoded images, each as the JSON that goes back."""
        found = self.loaded.answer(np.stack(pixels))
        rows = zip(found["label"], found["probabilities"].tolist(), strict=True)
        return [json_of(label, probabilities) for label, probabilities in rows]


def json_of(label: bytes, probabilities: list[float]) -> bytes:
    """Writes one answer."""
    return json.dumps({"label": label.decode(), "probabilities": probabilities}).encode()
