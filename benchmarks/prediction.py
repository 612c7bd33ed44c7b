"""Prediction of a folder: a script with Keras's `model.predict` against `graft predict`.

    python benchmarks/prediction.py
    python benchmarks/prediction.py --many 100000

Both are processes that load the same network and write a CSV file; they take turns. What
decoding and the folded network cost alone is measured in loops over the same files in a third
process, on one thread, and set beside what `graft predict` costs above the start, which is what
it costs on a single image. The goals for CPU seconds: the script / graft at least 1.4, and graft /
decoding and network alone at most 1.1. `--many` shows that memory stays flat: over so many links
to small images, against a thousand.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import alternate, goal, machine, measure, ratios, spread, table
from methods import arguments, setting

PREDICTING = Path(__file__).parent / "baselines" / "predicting.py"
GRAFT = [sys.executable, "-c", "from app.cli import graft; graft()", "predict"]


def main() -> None:
    """Prints the table."""
    if sys.argv[1:2] == ["--child"]:
        return {"make": make, "alone": alone}[sys.argv[2]](*sys.argv[3:])
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--many", type=int, default=0, metavar="FILES", help="to show memory")
    asked = parser.parse_args()
    print(f"{machine()}; {asked.backbone}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder, setting(asked) as given:
        child("make", given.backbone, given.weights, given.image_size, folder)
        if asked.many:
            memory(Path(folder), asked.many)
        else:
            speed(Path(folder), gathered(given.images, Path(folder) / "all"), asked.rounds)
    return None


def child(*command: object) -> list[float]:
    """Does a part in a process of its own; returns the numbers that it printed."""
    words = [sys.executable, __file__, "--child", *map(str, command)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return list(map(float, done.stdout.split()))


def gathered(images: Path, into: Path) -> Path:
    """Puts all images of a folder into one, since Keras's function wants one class or none."""
    into.mkdir()
    files = sorted(each for each in images.rglob("*") if each.is_file())
    for number, path in enumerate(files):
        (into / f"{number:05}{path.suffix}").symlink_to(path.absolute())
    return into


def speed(folder: Path, images: Path, rounds: int) -> None:
    """Compares CPU seconds."""
    count = len(list(images.iterdir()))
    one = folder / "one"
    one.mkdir()
    shutil.copy(next(images.iterdir()), one)
    output = folder / "answers.csv"

    def keras(where: Path) -> float:
        command = [sys.executable, PREDICTING, folder / "model.keras", where, output]
        return measure(command).cpu_seconds

    def graft(where: Path) -> float:
        return measure([*GRAFT, folder / "export", where, "--output", output]).cpu_seconds

    found = alternate(
        {
            "script": lambda _: keras(images),
            "graft": lambda _: graft(images),
            "script, one image": lambda _: keras(one),
            "graft, one image": lambda _: graft(one),
            "alone": lambda _: sum(child("alone", folder / "export", images)),
        },
        rounds,
    )
    above = {
        name: [
            all_ - start
            for all_, start in zip(found[name], found[f"{name}, one image"], strict=True)
        ]
        for name in ("script", "graft")
    }
    rows = [
        [name, spread(seconds), f"{1000 * statistics.median(seconds) / count:.2f}"]
        for name, seconds in {
            f"script with model.predict, {count} images": found["script"],
            f"graft predict, {count} images": found["graft"],
            "the script above its start": above["script"],
            "graft above its start": above["graft"],
            "decoding and network alone": found["alone"],
        }.items()
    ]
    print(table(["", "CPU seconds", "ms an image"], rows))
    print(f"\nstart: script {spread(found['script, one image'])} CPU seconds,", end=" ")
    print(f"graft {spread(found['graft, one image'])}")
    print(f"the script / graft: {goal(ratios(found['script'], found['graft']), 'at least 1.4')}")
    print(f"the same above the start: {spread(ratios(above['script'], above['graft']), '.2f')}")
    print(f"graft / alone: {goal(ratios(above['graft'], found['alone']), 'at most 1.1')}")


def memory(folder: Path, many: int) -> None:
    """Compares the peak memory of graft over many files with that over a thousand."""
    from generating import generate

    sources = sorted(generate(folder / "few", 20, size=(80, 60)).rglob("*.jpg"))
    rows = []
    for count in (1000, many):
        links = folder / f"links-{count}"
        links.mkdir()
        for number in range(count):
            os.link(sources[number % len(sources)], links / f"{number:07}.jpg")
        command = [*GRAFT, folder / "export", links, "--output", folder / f"{count}.csv"]
        used = measure(command)
        with (folder / f"{count}.csv").open() as file:
            assert sum(1 for _ in file) == count + 1
        peak = f"{used.peak_bytes / 1e6:.0f}"
        rows.append([count, peak, f"{used.cpu_seconds:.1f}", f"{used.wall_seconds:.1f}"])
    print(table(["files", "peak MB", "CPU seconds", "seconds"], rows))


def make(backbone: str, weights: str, image_size: str, folder: str) -> None:
    """Writes the same network as a Keras file and as an export."""
    from app import Head
    from app.verbs import load

    steps, saved = load("app.steps"), load("app.exports.saved_model")
    meaning = load("app.exports.meaning")
    found = steps.find_backbone(backbone)
    base, _ = steps.build_backbone(found, int(image_size), weights)
    model = steps.build_model(found, base, Head(), 5, 0)
    model.save(Path(folder) / "model.keras")
    saved.write_saved_model(model, meaning.Meaning(list("abcde")), Path(folder) / "export")


def alone(export: str, images: str) -> None:
    """Prints the CPU seconds of decoding all images, and of the folded network on as many."""
    import time

    import numpy as np

    from app.verbs import load

    exports = load("app.exports.loaded", without_keras=True)
    tf = load("tensorflow", without_keras=True)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    loaded = exports.Loaded(Path(export))
    paths = sorted(Path(images).iterdir())
    batch = tf.constant(
        np.stack([loaded.read(path.read_bytes()) for path in paths[: exports.BATCH]])
    )
    loaded._answer(batch)
    began = time.process_time()
    for path in paths:
        loaded._read(image_bytes=tf.io.read_file(str(path)))
    decoded = time.process_time()
    for _ in range(len(paths) // len(batch)):
        loaded._answer(batch)
    answered = time.process_time()
    whole = len(paths) / (len(paths) // len(batch) * len(batch))
    print(decoded - began, (answered - decoded) * whole)


if __name__ == "__main__":
    main()
