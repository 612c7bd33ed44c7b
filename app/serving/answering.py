"""What every protocol asks for: predictions, classes, explanations, in time or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.errors import decoding_reason
from app.exports.loaded import BATCH, Arrays
from app.exports.signatures import EXAMPLE_KEY, LIKELIEST
from app.serving.admission import Gate
from app.serving.batching import Batcher, Row, Task
from app.serving.catalogue import Catalogue, Served
from app.serving.codec import check_rows
from app.serving.errors import BadRequestError, NotHereError, shown

# Of pixels as they are, in the signature of that name.
MOST_SIDE = 16_384


@dataclass(frozen=True)
class Answering:
    """Answers requests with what a catalogue holds.

    Attributes:
        catalogue: The models.
        batcher: Computes.
        gate: Says how much may wait.
        seconds: That a request may take, if it says nothing else.
    """

    catalogue: Catalogue
    batcher: Batcher
    gate: Gate
    seconds: float

    def deadline(self, seconds: float | None = None) -> float:
        """Returns when a request that comes now is too late, in seconds of `time.monotonic`."""
        least = self.seconds if seconds is None else min(seconds, self.seconds)
        return time.monotonic() + least

    async def predict(
        self, served: Served, signature: str, inputs: Arrays, deadline: float
    ) -> Arrays:
        """Answers what a signature answers.

        Args:
            served: Who is asked.
            signature: One that it has.
            inputs: Of the types and shapes that it takes.
            deadline: From `deadline`.

        Raises:
            ServingError: If it cannot be answered, or not in time.
        """
        rows = check_rows(inputs)
        with served.busy(), self.gate.inside(rows, deadline):
            if signature == "serving_default":
                return await self._files(served, list(inputs["image_bytes"]), deadline)
            if signature == "classify":
                return await self._classified(served, list(inputs["inputs"]), deadline)
            fits = (served.network.size, served.network.size)
            if signature == "pixels" and inputs["pixels"].shape[1:3] == fits:
                found = await self._all(served, list(inputs["pixels"]), deadline)
                return _joined(found, served)
            if signature == "pixels":
                _check_sides(inputs["pixels"])
            return await self._called(served, signature, inputs, rows, deadline)

    async def classify(self, served: Served, files: Sequence[bytes], deadline: float) -> Arrays:
        """Answers files as the signature `serving_default` does."""
        with served.busy(), self.gate.inside(len(files), deadline):
            return await self._files(served, files, deadline)

    async def explain(
        self, served: Served, contents: bytes, name: str | None, deadline: float
    ) -> Arrays:
        """Tells where in an image a class was seen.

        Args:
            served: Who is asked.
            contents: Of a file.
            name: Of the class; the likeliest if None.
            deadline: From `deadline`.

        Returns:
            What the signature `explain` answers.

        Raises:
            ServingError: If the model cannot explain, or has no such class.
        """
        if "explain" not in served.signatures:
            raise NotHereError(f"model {served.model} has no explanations: export its run again")
        names = served.network.class_names
        if name is not None and name not in names:
            raise BadRequestError(f"class: model {served.model} has no class {shown(name)}")
        index = LIKELIEST if name is None else names.index(name)
        inputs = {
            "image_bytes": np.array([contents], object),
            "class_index": np.array([index], np.int32),
        }
        return await self.predict(served, "explain", inputs, deadline)

    async def _files(self, served: Served, files: Sequence[bytes], deadline: float) -> Arrays:
        found = await self._all(served, files, deadline)
        errors = [f"{each}." if isinstance(each, str) else "" for each in found]
        return {**_joined(found, served), "error": _texts(errors)}

    async def _classified(self, served: Served, examples: Sequence[bytes], by: float) -> Arrays:
        files = []
        for number, each in enumerate(examples):
            try:
                example = tf.train.Example.FromString(each)
            except Exception as error:  # each version of protobuf raises one of its own
                reason = f"inputs[{number}] is no serialised tf.train.Example"
                raise BadRequestError(reason) from error
            files.append(image_of(example, f"inputs[{number}]"))
        said = await self._files(served, files, by)
        return {"classes": said["classes"], "scores": said["probabilities"]}

    async def _all(self, served: Served, given: Sequence[Any], by: float) -> list[Row | str]:
        """Asks for each image on its own: batches are made of whatever waits."""
        loop = asyncio.get_running_loop()
        tasks = [Task(served.network, one, by, loop.create_future()) for one in given]
        self.batcher.submit(tasks)
        try:
            found: list[Row | str] = await asyncio.gather(*(task.answer for task in tasks))
        except BaseException:
            for task in tasks:  # of a request that failed nothing more is computed
                task.answer.cancel()
            raise
        return found

    async def _called(
        self, served: Served, signature: str, inputs: Arrays, rows: int, by: float
    ) -> Arrays:
        """Asks a signature as it is: of files one at a time, since decoding takes memory."""
        step = BATCH if signature == "pixels" else 1
        parts = [
            {name: each[at : at + step] if each.ndim else each for name, each in inputs.items()}
            for at in range(0, rows, step)
        ]
        found = await self._all(served, [_call(served, signature, part) for part in parts], by)
        several: list[Any] = found
        return {
            name: np.concatenate([part[name] for part in several]) if len(several) > 1 else value
            for name, value in several[0].items()
        }


def _call(served: Served, signature: str, inputs: Arrays) -> Callable[[], Arrays]:
    def call() -> Arrays:
        try:
            return served.network.call(signature, inputs)
        except tf.errors.InvalidArgumentError as error:
            reason = decoding_reason(str(error.message))
            raise BadRequestError(f"{', '.join(inputs)}: {reason}") from error

    return call


def _check_sides(pixels: NDArray[Any]) -> None:
    """Refuses what is so thin that resizing it takes far more memory than it does itself."""
    sides = pixels.shape[1:3]
    if not 1 <= min(sides) <= max(sides) <= MOST_SIDE:
        height, width = sides
        raise BadRequestError(
            f"pixels: images of {height} x {width} are not taken: sides are 1 to {MOST_SIDE}"
        )


def image_of(example: Any, where: str, shared: bytes = b"") -> bytes:
    """Takes the bytes of an image out of a `tf.train.Example`.

    Args:
        example: May have none.
        where: It is in the request.
        shared: Is taken if it has none.

    Raises:
        BadRequestError: If the feature holds something else.
    """
    found = example.features.feature
    if EXAMPLE_KEY not in found:
        return shared
    values = list(found[EXAMPLE_KEY].bytes_list.value)
    if len(values) != 1:
        raise BadRequestError(f"{where}.{EXAMPLE_KEY} must hold the bytes of one image")
    return bytes(values[0])


def _joined(found: Sequence[Row | str], served: Served) -> Arrays:
    """Puts rows together; those of files that cannot be read are blank."""
    rows = [
        {name: array[each.number] for name, array in each.arrays.items()}
        if isinstance(each, Row)
        else served.blank
        for each in found
    ]
    return {name: _stacked([row[name] for row in rows]) for name in served.blank}


def _stacked(rows: Sequence[Any]) -> NDArray[Any]:
    return _texts(rows) if isinstance(rows[0], bytes) else np.stack(rows)


def _texts(values: Sequence[bytes | str]) -> NDArray[Any]:
    """Makes an array of objects: NumPy's own texts lose zero bytes at their end."""
    array = np.empty(len(values), object)
    array[:] = [each.encode() if isinstance(each, str) else each for each in values]
    return array
