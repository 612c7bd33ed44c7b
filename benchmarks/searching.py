"""`graft tune` over twenty heads, against a bare loop that trains the same ones.

    python benchmarks/searching.py
    python benchmarks/searching.py --trials 100 --workers 2

The loop trains the heads of `grid.py` one after the other in one process, on features that are
kept, and does nothing else: no journal, no checkpoint but those of any training, no test images.
`graft tune` walks the same grid, and measures the winner and the recipe as written, too. Each
begins with an empty cache. The goal is at most 1.1 times the CPU seconds of the loop.

With `--trials` a random search of so many heads of the same epochs is run instead, and one of a
tenth: the difference tells the wall seconds of a trial, and how memory grows, of the process that
the user started and of the one that trains.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import alternate, goal, machine, measure, ratios, spread, table
from methods import ONE_STAGE, Setting, arguments, setting

GRID = Path(__file__).with_name("grid.py")
MOST_HEADS = 20


def main() -> None:
    """Prints the tables."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=0, help="of the longer search; 0 for none")
    parser.add_argument("--workers", type=int, default=1, help="of the longer search")
    parser.set_defaults(rounds=1)
    asked = parser.parse_args()
    with setting(asked) as given:
        print(f"{machine()}; {given.backbone}, {given.image_size} pixels\n")
        if asked.trials:
            longer(given, asked.trials, asked.workers)
        else:
            compared(given, asked.rounds, 2 if asked.quick else MOST_HEADS)


def compared(given: Setting, rounds: int, heads: int) -> None:
    """Prints the CPU seconds of loop and search."""
    found = alternate(
        {
            "a bare loop": lambda seed: looped(given, seed, heads),
            "graft tune": lambda seed: searched(given, seed, heads),
        },
        rounds,
    )
    rows = [[name, spread(each)] for name, each in found.items()]
    print(table((f"{heads} heads", "CPU seconds"), rows))
    both = ratios(found["graft tune"], found["a bare loop"])
    print(f"\nCPU seconds, graft tune / the loop: {goal(both, 'at most 1.1')}")


def changes(given: Setting, seed: int) -> list[str]:
    """Returns the settings of the recipe, as they are typed."""
    return [
        *("--data.source", str(given.images), "--data.image_size", str(given.image_size)),
        *("--backbone", given.backbone, "--weights", given.weights, "--seed", str(seed)),
    ]


def looped(given: Setting, seed: int, heads: int) -> float:
    """Returns the CPU seconds of a process that trains the heads."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import searching as s; s.loop()"
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-c", code, Path(__file__).parent, str(heads)]
        command += changes(given, seed)
        return measure(command, {"GRAFT_CACHE": cache}).cpu_seconds


def loop() -> None:
    """Trains the heads in this process."""
    from app import override, settings, verbs
    from app.recipe_file import load_recipe_file

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    heads, words = int(sys.argv[2]), sys.argv[3:]
    given = {name[2:]: text for name, text in zip(words[::2], words[1::2], strict=True)}
    recipe = load_recipe_file(GRID).recipe
    recipe = override(recipe, settings.parse(recipe, given))
    prepare = verbs.load("app.preparation").prepare
    grid = __import__("grid")
    points = [(rate, dropout) for dropout in grid.DROPOUTS for rate in grid.RATES]
    prepared = None
    with tempfile.TemporaryDirectory() as temporary:
        for number, (rate, dropout) in enumerate(points[:heads]):
            trial = override(recipe, {"learning_rate": rate, "head.dropout": dropout})
            prepared = prepare(trial, prepared and prepared.index, prepared)
            prepared.trainer(Path(temporary, str(number))).train(trial.stages)


def searched(given: Setting, seed: int, heads: int) -> float:
    """Returns the CPU seconds of a search of the same heads."""
    with tempfile.TemporaryDirectory() as temporary:
        # One more: the recipe as written is a point of the grid, which is not trained twice.
        asked = ["--trials", str(heads + 1), "--output", f"{temporary}/tuning"]
        command = [Path(sys.executable).with_name("graft"), "tune", GRID, "--algorithm", "grid"]
        command += [*asked, *changes(given, seed)]
        used = measure(command, {"GRAFT_CACHE": f"{temporary}/cache"})
        lines = Path(temporary, "tuning", "journal.jsonl").read_text("utf-8").splitlines()
        steps = [json.loads(line) for line in lines]
        seconds = next(step["seconds"] for step in steps if step["event"] == "measured")
        print(f"measuring the recipe as written took {seconds:.1f} s", file=sys.stderr)
        return used.cpu_seconds


def longer(given: Setting, trials: int, workers: int) -> None:
    """Prints the wall seconds of a trial, and how memory grows."""
    rows, found = [], {}
    for count in (max(trials // 10, 2), trials):
        seconds, supervisor, trainer = watched(given, count, workers)
        found[count] = seconds
        rows.append([count, f"{seconds:.1f}", f"{supervisor:.0f}", f"{trainer:.0f}"])
    columns = ("trials", "wall seconds", "peak MB of graft tune", "of what trains")
    print(table(columns, rows))
    few, many = found
    each = (found[many] - found[few]) / (many - few)
    print(
        f"\nwall seconds of a trial: {each:.2f}, of 100 trials: {goal([100 * each], 'at most 60')}"
    )


def watched(given: Setting, trials: int, workers: int) -> tuple[float, float, float]:
    """Returns the wall seconds of a search, and peak megabytes of its first and other processes."""
    with tempfile.TemporaryDirectory() as temporary:
        command = [
            Path(sys.executable).with_name("graft"),
            "tune",
            ONE_STAGE,
            "--trials",
            str(trials),
        ]
        command += ["--workers", str(workers), "--output", f"{temporary}/tuning"]
        command += changes(given, 0)
        began = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, "GRAFT_CACHE": f"{temporary}/cache", "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peaks: dict[int, float] = {}
        while process.poll() is None:
            for pid in [process.pid, *children(process.pid)]:
                peaks[pid] = max(peaks.get(pid, 0.0), peak(pid))
            time.sleep(0.5)
        if process.returncode:
            raise RuntimeError(f"{json.dumps([str(part) for part in command])} failed")
        first = peaks.pop(process.pid)
        return time.monotonic() - began, first, max(peaks.values())


def children(parent: int) -> list[int]:
    """Lists the processes that a process has started; Linux only."""
    file = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(each) for each in file.read_text().split()] if file.exists() else []


def peak(pid: int) -> float:
    """Returns the most megabytes that a process has held; 0 if it is no more."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(each.split()[1]) / 1024 for each in lines if each[:6] == "VmHWM:"), 0.0)


if __name__ == "__main__":
    main()
