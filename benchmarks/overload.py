"""A server that is asked for twice what it can do, or whose versions change meanwhile.

    python benchmarks/overload.py EXPORT IMAGES --minutes 10
    python benchmarks/overload.py EXPORT IMAGES --minutes 2 --swap 5

First 32 clients find out what the server can do. Then 200 clients ask for twice as much, in a
mixture: files, base64 in JSON, gRPC, and files that cannot be read. Every answer is compared with
the one that a single client got before: probabilities within 1e-5. The goals: no wrong answer, no
request without a status, the 99th percentile of what was answered within the deadline, and memory
that does not grow.

With `--swap` they ask for half of what it can do, and every so many seconds the version that is
served gives way to another one: the same network, whose number tells them apart. The goals: no
request fails, and each answer is of one version.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients import Started, serving
from engines.load import answer, request
from measuring import machine, table

CLIENTS, WARM_UP = 200, 32
TOLERANCE = 1e-5
LOAD = Path(__file__).parent / "engines" / "load.py"
# Status, probabilities by class (none of a file that cannot be read), and the version.
Told = tuple[str, list[float], str]
Ask = Callable[[int], Awaitable[Told]]


@dataclass
class Asking:
    """Requests of every kind, and what came of them."""

    server: Started
    files: list[bytes]
    name: str
    predict: Any
    wanted: dict[int, list[float]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    versions: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    async def plain(self, at: int) -> Told:
        """Sends a file."""
        status, told = await self._http(request("/classify", self.files[at]))
        classes = sorted(told.get("classes", []), key=lambda each: str(each["name"]))
        return status, [each["probability"] for each in classes], told.get("version", "")

    async def json(self, at: int) -> Told:
        """Sends a file within JSON."""
        row = {"b64": base64.b64encode(self.files[at]).decode()}
        body = json.dumps({"instances": [row]}).encode()
        path = f"/v1/models/{self.name}:predict"
        status, told = await self._http(request(path, body, "application/json"))
        return status, told["predictions"][0]["probabilities"] if status == "200" else [], ""

    async def unreadable(self, at: int) -> Told:
        """Sends the beginning of a file, whose answer is 400."""
        cut = self.files[at][: random.randrange(1, 400)]
        status, _ = await self._http(request("/classify", cut))
        return ("400, as it should be" if status == "400" else status), [], ""

    async def rpc(self, at: int) -> Told:
        """Sends a file over gRPC."""
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(output_filter=["probabilities"])
        request.model_spec.name = self.name
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([self.files[at]]))
        try:
            told = await self.predict(request, timeout=30)
        except grpc.aio.AioRpcError as error:
            return error.code().name, [], ""
        shares = tf.make_ndarray(told.outputs["probabilities"])[0].tolist()
        return "OK", shares, str(told.model_spec.version.value)

    async def _http(self, asked: bytes) -> tuple[str, Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            writer.write(asked)
            await writer.drain()
            status, told = await answer(reader)
            return str(status), json.loads(told)
        finally:
            writer.close()

    async def once(self, ask: Ask, at: int) -> str:
        """Asks, and looks at the answer."""
        began = time.monotonic()
        try:
            status, shares, version = await ask(at)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.lost.append(repr(error))
            return "lost"
        self.seconds.setdefault(status, []).append(time.monotonic() - began)
        self.versions[version] += 1
        wanted = self.wanted.setdefault(at, shares) if shares else []
        if any(abs(one - other) > TOLERANCE for one, other in zip(shares, wanted, strict=True)):
            self.wrong.append(f"file {at}: {shares} in place of {wanted}")
        return status


async def steady(asking: Asking, rate: float, until: float) -> None:
    """Asks again and again, all clients together so many times a second."""
    kinds = [asking.plain] * 6 + [asking.json] * 2 + [asking.rpc] * 2 + [asking.unreadable]

    async def client() -> None:
        await asyncio.sleep(random.random() * CLIENTS / rate)
        while (began := time.monotonic()) < until:
            at = random.randrange(len(asking.files))
            await asking.once(random.choice(kinds), at)
            await asyncio.sleep(max(0, began + CLIENTS / rate - time.monotonic()))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def watched(server: Started, until: float) -> list[float]:
    """Returns the memory of the server, ten times a minute."""
    held = [server.megabytes]
    while time.monotonic() < until:
        await asyncio.sleep(6)
        held.append(server.megabytes)
    return held


async def swapping(export: Path, folder: Path, seconds: float, until: float) -> int:
    """Puts a version after the other into the folder, and takes the one before away."""
    number = 1
    while time.monotonic() + 2 * seconds < until:
        await asyncio.sleep(seconds)
        temporary = folder / ".coming"
        await asyncio.to_thread(shutil.copytree, export, temporary)
        temporary.rename(folder / str(number + 1))
        if number > 1:  # the one before may still be answering
            shutil.rmtree(folder / str(number - 1))
        number += 1
    return number


async def run(server: Started, name: str, files: list[bytes], asked: Any, swap: Any) -> None:
    """Loads the server, and prints what came of it."""
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc as services

    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        asking = Asking(server, files, name, services.PredictionServiceStub(channel).Predict)
        for at in range(len(files)):
            await asking.once(asking.plain, at)
        capacity = await asyncio.to_thread(most, server.port, asked.images)
        rate = capacity * (0.5 if swap else 2)
        asking.seconds.clear()
        until = time.monotonic() + 60 * asked.minutes
        held, _, swaps = await asyncio.gather(
            watched(server, until), steady(asking, rate, until), swap(until) if swap else none()
        )
    report(asking, capacity, rate, held)
    if swap:
        print(f"\n{swaps} versions; answers by version: {dict(asking.versions)}")


def most(port: int, images: Path) -> float:
    """Finds out how many images a second are answered."""
    files = sorted(str(each) for each in images.rglob("*") if each.is_file())
    words = [sys.executable, str(LOAD), str(port), str(WARM_UP), "15", *files]
    found: float = json.loads(subprocess.check_output(words))["rate"]
    return found


async def none() -> int:
    """Swaps nothing."""
    return 1


def report(asking: Asking, capacity: float, rate: float, held: list[float]) -> None:
    """Prints what the clients saw."""
    rows = []
    for status, seconds in sorted(asking.seconds.items()):
        cuts = statistics.quantiles(seconds, n=100) if len(seconds) > 1 else seconds * 99
        rows.append((status, len(seconds), f"{cuts[49]:.2f}", f"{cuts[98]:.2f}"))
    print(f"{capacity:.0f} images a second with {WARM_UP} clients; then {rate:.0f} asked for\n")
    print(table(("status", "requests", "median seconds", "99th percentile"), rows))
    print(f"\nwrong answers: {len(asking.wrong)} {asking.wrong[:1]}")
    print(f"requests without a status: {len(asking.lost)} {asking.lost[:1]}")
    parts = [held[at * len(held) // 5] for at in range(5)] + held[-1:]
    print("memory over time, MB: " + ", ".join(f"{each:.0f}" for each in parts))


def main() -> None:
    """Starts a server and loads it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("export", type=Path, help="a version")
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--deadline", default="1", help="of the server, in seconds")
    parser.add_argument("--swap", type=float, metavar="SECONDS", help="between versions")
    asked = parser.parse_args()
    files = [each.read_bytes() for each in sorted(asked.images.rglob("*")) if each.is_file()]
    print(f"{machine()}; {len(files)} images\n", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        shutil.copytree(asked.export, folder / "1")
        deadline = "5" if asked.swap else asked.deadline
        with serving(folder, "--deadline", deadline) as server:
            swap = None
            if asked.swap:

                def swap(until: float) -> Awaitable[int]:
                    return swapping(asked.export, folder, asked.swap, until)

            asyncio.run(run(server, "model", files, asked, swap))


if __name__ == "__main__":
    main()
