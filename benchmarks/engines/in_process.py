"""What the engines are compared with: the same work without a server.

A line `one SECONDS` or `many SECONDS` in brings a line of JSON out, `labels` those of the images.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from network import BATCH, Network


def one(network: Network, images: list[bytes], seconds: float) -> dict[str, float]:
    """Asks one image after the other."""
    times, end = [], time.perf_counter() + seconds
    for image in itertools.cycle(images):
        start = time.perf_counter()
        network.answer([network.decode(image)])
        times.append(time.perf_counter() - start)
        if start > end:
            break
    return {"p50": statistics.median(times), "rate": len(times) / sum(times)}


def many(network: Network, images: list[bytes], seconds: float) -> dict[str, float]:
    """Asks batches on two threads."""
    begin = time.perf_counter()

    def work(offset: int) -> tuple[int, float]:
        done = 0
        while time.perf_counter() < begin + seconds:
            batch = [images[(offset + done + i) % len(images)] for i in range(BATCH)]
            network.answer([network.decode(image) for image in batch])
            done += BATCH
        return done, time.perf_counter() - begin

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, (0, len(images) // 2)))
    rate = sum(done / took for done, took in found)
    return {"rate": rate, "answers": sum(done for done, _ in found)}


def main() -> None:
    """Does what each line says."""
    images, network = [Path(path).read_bytes() for path in sys.argv[1:]], Network()
    for line in sys.stdin:
        what, _, seconds = line.strip().partition(" ")
        if what == "labels":
            said = [json.loads(network.answer([network.decode(i)])[0])["label"] for i in images]
            print(json.dumps(said), flush=True)
        else:
            found = (one if what == "one" else many)(network, images, float(seconds))
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
