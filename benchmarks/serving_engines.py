"""What engines for queueing and batching cost, against the same work without a server.

Each engine in `engines/` is started with `python FILE PORT` and asked over HTTP, in turns with
the same decoding and network in one process:

- one client: the median time of an answer, over that of one image in the process;
- 32 clients: answers a second, over those of batches on two threads in the process, and the
  CPU time of all processes an answer, likewise: it says more on a machine that others use too;
- 200 clients: who is refused, how fast, and how long the others wait;
- memory of all its processes, and CPU time while nobody asks.

The goals for `graft_serve`: the first ratio at most 1.4, the second at least 0.80.

    python benchmarks/serving_engines.py EXPORT IMAGES --engines graft_serve
    python benchmarks/serving_engines.py EXPORT IMAGES --engines lit --python lit=VENV/bin/python
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engines.processes import children, cpu_seconds, memory

ENGINES = {
    "graft_serve": "graft serve",
    "tensorflow_batching": "tf.raw_ops.BatchFunction, on Starlette",
    "lit": "LitServe",
    "bento": "BentoML",
    "ray_serve": "Ray Serve",
    "seldon": "MLServer",
}
HERE = Path(__file__).resolve().parent / "engines"
START_UP, GRACE = 150.0, 40.0  # seconds
COLUMNS = (
    "engine", "fresh p50 ms", "p50 ratio", "p50 ms", "throughput ratio", "images/s", "CPU ratio",
    "p99 of 32 ms",
    "200: images/s", "200: p50 s", "200: p99 s", "200: refused", "in ms", "failed",
    "RSS MB", "PSS MB", "processes", "idle CPU %", "stop s", "wrong",
)  # fmt: skip


def free_port() -> int:
    """Returns a port with two free ones behind it, in all likelihood."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def timed(pids: list[int], work: Callable[[], Any]) -> tuple[Any, float]:
    """Returns what work gives, and the CPU seconds an answer that these processes took."""
    before = cpu_seconds(pids)
    found = work()
    return found, (cpu_seconds(pids) - before) / found["answers"]


def classify(port: int, image: bytes) -> tuple[int, bytes]:
    """Asks for one image; status 0 if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/classify", image, {"Content-Type": "image/jpeg"})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


class Baseline:
    """The process that does the same without a server."""

    def __init__(self, environment: dict[str, str], images: list[Path]) -> None:
        command = [sys.executable, str(HERE / "in_process.py"), *map(str, images)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process: Any = subprocess.Popen(command, env=environment, text=True, **pipes)
        self.ask("one 0")  # it is ready

    def ask(self, what: str) -> Any:
        """Has it do something."""
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextlib.contextmanager
def serving(name: str, python: str, environment: dict[str, str], image: bytes) -> Iterator[Any]:
    """Starts an engine, stops it: yields port, process, and where the seconds to stop will be."""
    port, stopping = free_port(), {"seconds": 0.0}
    with Path(os.environ.get("ENGINES_LOG", os.devnull)).open("ab") as log:
        process = subprocess.Popen(
            [python, str(HERE / f"{name}.py"), str(port)],
            env=environment, cwd=HERE, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    every = [process.pid]
    try:
        end = time.monotonic() + START_UP
        while classify(port, image)[0] != 200:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} does not start: see the file in ENGINES_LOG")
            time.sleep(0.5)
        every = children(process.pid)
        yield port, process.pid, stopping
    finally:
        every = sorted({*every, *children(process.pid)})
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        stopping["seconds"] = time.monotonic() - begin
        for pid in every:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def measure(
    name: str, python: str, baseline: Baseline, environment: dict[str, str], options: Any
) -> list[str]:
    """Measures an engine in turns with the baseline; returns a row of the table."""
    images = options.files
    contents = [path.read_bytes() for path in images[:20]]
    expected = baseline.ask("labels")[:20]
    rows: list[dict[str, Any]] = []
    with serving(name, python, environment, contents[0]) as (port, pid, stopping):

        def load(clients: int, seconds: float) -> Any:
            command = [sys.executable, str(HERE / "load.py"), str(port), str(clients)]
            command += [str(seconds), *map(str, images)]
            return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

        said = [classify(port, image)[1] for image in contents]
        wrong = sum(label.encode() not in one for label, one in zip(expected, said, strict=True))
        fresh = load(1, options.seconds)["p50"] * 1000
        load(32, options.seconds)  # some engines learn from what they see
        pids = children(pid)
        before = cpu_seconds(pids)
        time.sleep(3)
        idle = (cpu_seconds(pids) - before) / 3 * 100
        for _ in range(options.rounds):
            alone, one = baseline.ask(f"one {options.seconds}"), load(1, options.seconds)
            row = {"alone": alone, "one": one}
            row["full"], row["full_cpu"] = timed(
                [baseline.process.pid], lambda: baseline.ask(f"many {options.seconds}")
            )
            row["many"], row["many_cpu"] = timed(children(pid), lambda: load(32, options.seconds))
            rows.append({**row, "crowd": load(200, options.seconds)})
        held = memory(children(pid))
    if options.json:
        with options.json.open("a") as file:
            file.write(json.dumps({"engine": name, "fresh": fresh, "rows": rows}) + "\n")
    refused = sum(row["crowd"]["refused"] for row in rows)
    asked = refused + sum(row["crowd"]["served"] for row in rows)
    return [
        name,
        f"{fresh:.0f}",
        spread([row["one"]["p50"] / row["alone"]["p50"] for row in rows]),
        spread([row["one"]["p50"] * 1000 for row in rows], 0),
        spread([row["many"]["rate"] / row["full"]["rate"] for row in rows]),
        spread([row["many"]["rate"] for row in rows], 0),
        spread([row["many_cpu"] / row["full_cpu"] for row in rows]),
        spread([row["many"]["p99"] * 1000 for row in rows], 0),
        spread([row["crowd"]["rate"] for row in rows], 0),
        spread([row["crowd"]["p50"] or 0 for row in rows]),
        spread([row["crowd"]["p99"] or 0 for row in rows]),
        f"{refused / max(asked, 1):.0%}",
        spread([(row["crowd"]["refused_p50"] or 0) * 1000 for row in rows], 0),
        str(sum(row[each]["failed"] for row in rows for each in ("one", "many", "crowd"))),
        *(f"{each:.0f}" for each in held),
        str(len(pids)),
        f"{idle:.0f}",
        f"{stopping['seconds']:.1f}",
        f"{wrong} of {len(said)}",
    ]


def spread(values: list[float], digits: int = 2) -> str:
    """Writes the median, and from where to where the values reach."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def main() -> None:
    """Reads the command line, and prints the table."""
    said, _, rest = (__doc__ or "").partition("\n")
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=said, epilog=rest, formatter_class=raw)
    parser.add_argument("export", type=Path, help="folder of a version, with saved_model.pb")
    parser.add_argument("images", type=Path, help="folder with JPEG files, at any depth")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--python", nargs="+", default=[], metavar="ENGINE=PATH", help="its Python")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="for each cell")
    parser.add_argument("--json", type=Path, help="where every round is kept")
    options = parser.parse_args()
    options.files = sorted(options.images.rglob("*.jpg"))
    pythons = dict(each.split("=", 1) for each in options.python)
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", "BENTOML_DO_NOT_TRACK": "1"}
    environment = {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment["ENGINES_EXPORT"] = str(options.export.resolve())
    baseline = Baseline(environment, options.files)
    held = "in the process: {:.0f} MB RSS, {:.0f} MB PSS".format(*memory([baseline.process.pid]))
    print(held, " | ".join(COLUMNS), sep="\n", flush=True)
    try:
        for name in options.engines:
            try:
                python = pythons.get(name, sys.executable)
                row = measure(name, python, baseline, environment, options)
            except (RuntimeError, subprocess.CalledProcessError) as error:
                row = [name, str(error)]
            print(*row, sep=" | ", flush=True)
    finally:
        baseline.process.kill()


if __name__ == "__main__":
    main()
