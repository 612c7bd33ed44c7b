"""Generated images: how many a second, by kind; and a sheet of them.

    python benchmarks/generated.py
    python benchmarks/generated.py --sheet docs/generated.jpg

On one core, in CPU seconds. The baseline is NumPy's drawing of as many random bytes, the least that
an image could cost. The goal is 1,500 images of 64 pixels a second and core.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from measuring import alternate, goal, machine, ratios, spread, table

from app.data.generated import KINDS, generate, generate_of_classes

SIZE, COUNT, COLUMNS = 64, 500, 14


def main() -> None:
    """Prints the table, or writes the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sheet", type=Path, help="an image file to write instead")
    asked = parser.parse_args()
    if asked.sheet:
        cv2.imwrite(str(asked.sheet), sheet()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
        return
    cv2.setNumThreads(1)
    methods = {"random bytes": timed(lambda numbers: noise(numbers))}
    methods |= {kind: timed(partial(generate, size=SIZE, kind=kind)) for kind in KINDS}
    methods |= {
        "all kinds": timed(partial(generate, size=SIZE)),
        "of 128 classes": timed(partial(generate_of_classes, class_count=128, size=SIZE)),
    }
    found = alternate(methods, asked.rounds)
    print(f"{machine()}; {SIZE} pixels, {COUNT} images a round\n")
    rows = [
        [name, spread([COUNT / each for each in seconds], ".0f")] for name, seconds in found.items()
    ]
    print(table(("images", "a CPU second"), rows))
    reached = ratios([COUNT] * asked.rounds, found["all kinds"])
    print(f"\nall kinds a second and core: {goal(reached, 'at least 1500')}")


def timed(make):
    """Returns what makes images, others each round, and says how long that took."""

    def work(number: int) -> float:
        began = time.process_time()
        make(range(COUNT * number, COUNT * (number + 1)))
        return time.process_time() - began

    return work


def noise(numbers: range) -> np.ndarray:
    """Draws the bytes of images, each by a generator of its own."""
    return np.stack(
        [np.random.default_rng(k).integers(0, 256, (SIZE, SIZE, 3), "uint8") for k in numbers]
    )


def sheet() -> np.ndarray:
    """Lays images of each kind side by side, one row a kind, and one of classes, a column each."""
    rows = [generate(range(COLUMNS), SIZE, kind=kind) for kind in KINDS]
    classes = range(COLUMNS // 2 * 2)
    numbers = [k // 2 + 16 * (k % 2) for k in classes]
    rows.append(generate_of_classes(numbers, 16, SIZE)[0])
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])


if __name__ == "__main__":
    main()
