"""What it costs to start: help, mistakes, and `graft train` up to its first training step.

    python benchmarks/start_up.py

Each command is a process of its own, and takes turns with `python -c pass`, which is what Python
itself costs. The goals: help and mistakes under 0.15 CPU seconds, and the first training step no
later than 10 seconds after the command, on 100 small generated JPEG files, MobileNetV2 at 96
pixels and weights at hand, which the benchmark makes itself. The first step is over when Keras
tells callbacks so; where all steps of an epoch run as one, that is the end of the epoch.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import ROOT, alternate, machine, spread, table

GRAFT = [sys.executable, "-c", "from app.cli import graft; graft()"]
COMMANDS = {
    "graft --help": 0,
    "graft train --help": 0,
    "graft train recipes/folder.py --help": 0,
    "graft predict --help": 0,
    "graft tarin": 2,
    "graft train none.py": 2,
    "graft train recipes/folder.py --epoks 3": 2,
    "graft train recipes/folder.py --data.source none": 2,
    "graft predict none x.jpg": 2,
}
WEIGHTS = """
import sys, keras
shape = (96, 96, 3)
base = keras.applications.MobileNetV2(input_shape=shape, weights=None, include_top=False)
base.save_weights(sys.argv[1])
"""
FIRST_STEP = """
import os, sys, time
from app import cli, verbs

load = verbs.load

def loading(module, *options, **more):
    loaded = load(module, *options, **more)
    if module == "app.runs":
        import keras
        heard = keras.callbacks.CallbackList
        heard.on_train_batch_end = heard.on_epoch_end = first
    return loaded

def first(*_, **__):
    print(time.process_time(), time.monotonic(), flush=True)
    os._exit(0)

verbs.load = loading
cli.graft()
"""


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="of each short command")
    parser.add_argument("--trainings", type=int, default=5, help="started up to the first step")
    parser.add_argument("--quick", action="store_true", help="one of each, to see that it runs")
    asked = parser.parse_args()
    rounds, trainings = (1, 1) if asked.quick else (asked.rounds, asked.trainings)
    print(f"{machine()}\n", flush=True)
    short_commands(rounds)
    with tempfile.TemporaryDirectory() as folder:
        first_steps(Path(folder), trainings)


def short_commands(rounds: int) -> None:
    """Prints the CPU seconds of help and mistakes."""
    bare = "python -c pass"
    methods = {bare: lambda _: cpu_seconds([sys.executable, "-c", "pass"], 0)}
    for command, code in COMMANDS.items():
        words = [*GRAFT, *shlex.split(command)[1:]]
        methods[command] = lambda _, words=words, code=code: cpu_seconds(words, code)
    found = alternate(methods, rounds)
    rows = [[f"`{name}`", spread(seconds, ".3f"), rounds] for name, seconds in found.items()]
    print(table(["command", "CPU seconds", "runs"], rows))
    worst = max(statistics.median(seconds) for seconds in found.values())
    print(f"\nthe highest median: {worst:.3f}; wanted: under 0.15\n", flush=True)


def cpu_seconds(command: list[str], code: int) -> float:
    """Runs a command that ends with a code, and returns the CPU seconds that it took."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here
    if process.returncode != code:
        raise RuntimeError(f"{shlex.join(command)} ended with {process.returncode}, not {code}")
    return used.ru_utime + used.ru_stime


def first_steps(folder: Path, trainings: int) -> None:
    """Prints how long `graft train` takes to its first step."""
    from generating import generate

    images, weights = generate(folder / "images", 100, size=(160, 120)), folder / "x.weights.h5"
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", WEIGHTS, weights], check=True, env=quiet)
    given = f"--data.source {images} --backbone mobilenet_v2 --image_size 96 --weights {weights}"
    cpu, wall = [], []
    for number in range(trainings):
        run = ["--run-dir", str(folder / f"run-{number}")]
        # Each starts without features of another.
        environment = {**quiet, "GRAFT_CACHE": str(folder / f"cache-{number}")}
        command = [sys.executable, "-c", FIRST_STEP, "train", "recipes/folder.py"]
        began = time.monotonic()
        done = subprocess.run(
            [*command, *given.split(), *run],
            cwd=ROOT,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        used, at = map(float, done.stdout.split()[-2:])
        cpu.append(used)
        wall.append(at - began)
    rows = [["CPU seconds", spread(cpu), trainings], ["seconds", spread(wall), trainings]]
    print(table(["`graft train` to its first step", "", "runs"], rows))
    print(f"\nthe first step comes after {spread(wall)} seconds; wanted: at most 10")


if __name__ == "__main__":
    main()
