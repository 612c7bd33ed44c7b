"""What a pipeline costs over the bare work: decode, resize and vary photographs at 224 pixels.

    python benchmarks/reading.py
    python benchmarks/reading.py --quick

The baseline is a bare loop over the same files in one thread: our reading, one image after the
other, and the same albumentations transforms, seeded anew for each image. CPU seconds of the
process are compared, so that a ratio of 1 means that no core does anything but that work; the
goal is at least 0.92. Both have one thread an operation, which suits the bare loop best: with
the 8 of a training it takes longer, and the pipeline does not. They take turns in one process
with the usual other reading (cv2, which gives other pixels). Photographs are those of
`../shared/material/datasets/flowers` if it is there, else generated ones.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from itertools import islice
from pathlib import Path

from app import Augmentation, Data, Recipe, Stage
from app.verbs import load

FLOWERS = Path(__file__).parents[2] / "shared" / "material" / "datasets" / "flowers" / "train"
SIZE, BATCH = 224, 32


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="epochs of each kind")
    parser.add_argument("--images", type=int, default=320, help="how many")
    parser.add_argument("--threads", type=int, default=1, help="of TensorFlow, for one operation")
    parser.add_argument("--quick", action="store_true", help="two rounds over 64 images")
    asked = parser.parse_args()
    rounds, count = (2, 64) if asked.quick else (asked.rounds, asked.images)
    steps = load("app.steps")
    steps.set_up(recipe(asked.threads))
    print(f"{date.today()}, {platform.machine()}, Python {platform.python_version()}", end=", ")
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(FLOWERS.rglob("*.jpg")) or generated(Path(folder), count)
        images = listed(paths[:: max(len(paths) // count, 1)][:count])
        print(f"{len(images)} {'flowers' if FLOWERS.is_dir() else 'generated photographs'}\n")
        print("| augmentation | what | CPU ms an image | bare loop / it | least | most |")
        print("|---|---|---|---|---|---|")
        for preset in ("light", "medium", "strong"):
            print_ratios(preset, measured(preset, images, rounds))
        print("\n| start of a pipeline, to its first batch | CPU s | wall s |\n|---|---|---|")
        for what, cpu, wall in started(images):
            print(f"| {what} | {cpu:.2f} | {wall:.2f} |", flush=True)


def recipe(threads: int) -> Recipe:
    """Returns one that is never run: it sets TensorFlow up."""
    return Recipe(
        "reading", Data("."), Augmentation(), "compact", stages={"head": Stage()}, threads=threads
    )


def print_ratios(preset: str, milliseconds: dict[str, list[float]]) -> None:
    """Prints a row for each way; ratios are those of a round."""
    for what, found in milliseconds.items():
        ratios = [bare / its for bare, its in zip(milliseconds["bare loop"], found, strict=True)]
        row = " | ".join(f"{of(ratios):.3f}" for of in (statistics.median, min, max))
        print(f"| {preset} | {what} | {statistics.median(found):.3f} | {row} |", flush=True)


def measured(preset: str, images: list, rounds: int) -> dict[str, list[float]]:
    """Returns CPU milliseconds an image of each way in each round."""
    augmenter = load("app.steps").Augmenter(Augmentation(preset), SIZE, 0)
    kept = load("app.steps").KeptImages(images, SIZE)
    ways = {
        "bare loop": bare(images, augmenter, reader()),
        "pipeline": pipeline(images, augmenter, None),
        "pipeline, images kept": pipeline(images, augmenter, kept),
        "bare loop, read by cv2": bare(images, augmenter, read_by_cv2),
    }
    found: dict[str, list[float]] = {what: [] for what in ways}
    for number in range(rounds + 1):  # the first fills what is kept, and is left out
        for what in list(ways) if number % 2 else list(ways)[::-1]:
            began = quiet()
            ways[what]()
            if number:
                found[what].append((quiet() - began) * 1000 / len(images))
    return found


def bare(images: list, augmenter: Callable, read: Callable) -> Callable[[], None]:
    """Returns what reads and varies every image, one after the other."""
    paths, keys = [str(image.path) for image in images], [image.key for image in images]

    def epoch() -> None:
        for path, key in zip(paths, keys, strict=True):
            augmenter(read(path)[None], 1, [key])

    return epoch


def reader() -> Callable:
    """Returns our reading of a path, traced once."""
    tf, reading = load("tensorflow"), load("app.data.reading")

    def read(path):
        return reading.read_image(tf.io.read_file(path), SIZE)

    traced = tf.function(read).get_concrete_function(tf.TensorSpec([], tf.string))
    return lambda path: traced(tf.constant(path)).numpy()


def read_by_cv2(path: str):
    """Reads as most programs do."""
    cv2 = load("cv2")
    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    return cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def pipeline(images: list, augmenter: Callable, kept: object) -> Callable[[], None]:
    """Returns what takes one epoch from a pipeline that never ends."""
    steps = len(images) // BATCH
    batches = iter(dataset(images, augmenter, kept, epochs=10**6))

    def epoch() -> None:
        for _ in islice(batches, steps):
            pass

    return epoch


def dataset(images: list, augmenter: Callable, kept: object, epochs: int):
    """Makes training batches of 32."""
    index = load("app.data.index").Index(("flower",), tuple(images), ())
    make = load("app.steps").training_batches
    return make(index, augmenter, SIZE, BATCH, seed=0, first_epoch=0, epochs=epochs, kept=kept)


def started(images: list) -> list[tuple[str, float, float]]:
    """Returns what starting takes: for the first time, again, and where nothing is read."""
    augmenter = load("app.steps").Augmenter(Augmentation("light"), SIZE, 0)
    load("app.data.views")._reader.cache_clear()
    found = []
    kept = load("app.steps").KeptImages(images[:1], SIZE)
    for what, where in (("first of a process", None), ("second", kept), ("images kept", kept)):
        cpu, wall = quiet(), time.perf_counter()
        next(iter(dataset(images[:1], augmenter, where, epochs=1)))
        found.append((what, time.process_time() - cpu, time.perf_counter() - wall))
    return found


def quiet() -> float:
    """Waits until nothing is read ahead any more; returns the CPU seconds of the process."""
    while True:
        before = time.process_time()
        time.sleep(0.1)
        if time.process_time() - before < 0.003:
            return time.process_time()


def listed(paths: list[Path]) -> list:
    """Describes files as training images; as many as fill whole batches."""
    index, looking = load("app.data.index"), load("app.data.looking")
    paths = paths[: len(paths) // BATCH * BATCH]
    return [index.Image(path, ("flower",), "train", looking.hash_of(path), 0, 0) for path in paths]


def generated(folder: Path, count: int) -> list[Path]:
    """Writes photographs of 500 x 375 pixels: smooth colours, and the noise of a camera."""
    np, image = load("numpy"), load("PIL.Image")
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        random = np.random.default_rng(number)
        smooth = image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        pixels = np.asarray(smooth.resize((500, 375), 3)) + random.normal(0, 6, (375, 500, 3))
        image.fromarray(pixels.clip(0, 255).astype("uint8")).save(path, quality=90)
    return paths


if __name__ == "__main__":
    main()
