"""What the benchmarks that compare share: processes, their CPU seconds, medians, tables.

Standard library only, and small: a child's peak memory counts what its parent held.
"""

from __future__ import annotations

import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
MATERIAL = ROOT.parent / "shared" / "material"
Found = TypeVar("Found")


@dataclass(frozen=True)
class Used:
    """What a process used, its threads and its own children included.

    Attributes:
        cpu_seconds: Of user and system together.
        wall_seconds: From its start to its end.
        peak_bytes: Most memory that it held at once.
        output: What it wrote to standard output.
    """

    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    output: str


def measure(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Used:
    """Runs a command to its end.

    Raises:
        RuntimeError: If it fails; says how it was called and what it said last.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=errors,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})},
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            called = shlex.join(str(part) for part in command)
            raise RuntimeError(f"{called} ended with {process.returncode}: {errors.read()[-2000:]}")
        unit = 1 if sys.platform == "darwin" else 1024  # KiB on Linux, bytes on a Mac
        cpu = used.ru_utime + used.ru_stime
        return Used(cpu, wall, used.ru_maxrss * unit, output.read())


def alternate(methods: Mapping[str, Callable[[int], Found]], rounds: int) -> dict[str, list[Found]]:
    """Lets methods take turns, forwards and backwards, so that none has the better hours.

    Args:
        methods: Each takes the number of the round.
        rounds: How many turns each has.
    """
    found: dict[str, list[Found]] = {name: [] for name in methods}
    for number in range(rounds):
        for name in list(methods)[:: -1 if number % 2 else 1]:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            found[name].append(methods[name](number))
    return found


def ratios(slower: Iterable[float], quicker: Iterable[float]) -> list[float]:
    """Divides the pairs of each round."""
    return [first / second for first, second in zip(slower, quicker, strict=True)]


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """Writes a median with the least and the most, such as `2.0 (1.0 to 4.0)`."""
    median = format(statistics.median(values), form)
    if len(values) == 1:
        return median
    return f"{median} ({min(values):{form}} to {max(values):{form}})"


def goal(ratio: Sequence[float], wanted: str) -> str:
    """Writes a ratio as the sentence that a benchmark ends in."""
    return f"{spread(ratio, '.2f')}; wanted: {wanted}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Writes a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def machine() -> str:
    """Says when and on what was measured."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python = platform.python_version()
    return f"{date.today()}, {platform.machine()}, {cores} cores, Python {python}, {packages}"


def importing() -> float:
    """Measures the CPU seconds of a process that only imports what every method needs."""
    return measure([sys.executable, "-c", "import tensorflow, keras"]).cpu_seconds
