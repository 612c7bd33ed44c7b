"""What a head costs as images grow in number: CPU seconds an image, and peak memory.

    python benchmarks/scaling.py

One process of `graft train` for each number of generated images of 500 x 375 pixels, with an
empty cache, and one on very few, whose CPU seconds are what starting costs. The baseline is the
least number. The goals: CPU seconds an image beyond that start within 5 %, and peak memory flat.
"""

import tempfile
from pathlib import Path

from measuring import alternate, machine, spread, table
from methods import ONE_STAGE, Setting, arguments, graft, setting

COLUMNS = ("images", "CPU ms an image beyond the start", "to the least", "peak MB", "to the least")
FEW = 20  # 4 of each shape: one for every split, and one more


def main() -> None:
    """Prints the table."""
    parser = arguments(__doc__.splitlines()[0], "mobilenet_v2_035", 160)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 2000, 4000, 8000])
    parser.add_argument("--epochs", type=int, default=10, help="of the head")
    asked = parser.parse_args()
    counts = [40, 80] if asked.quick else sorted(asked.counts)
    epochs = ("--epochs", "2" if asked.quick else str(asked.epochs))
    size = (80, 60) if asked.quick else (500, 375)
    with tempfile.TemporaryDirectory() as temporary, setting(asked, FEW, FEW) as given:
        found = alternate(
            {
                count: method(folder_of(Path(temporary), count, size), given, epochs)
                for count in (FEW, *counts)
            },
            asked.rounds,
        )
    print(f"{machine()}; {given.backbone}, {given.image_size} pixels\n")
    start = [each.used.cpu_seconds for each in found.pop(FEW)]
    print(f"starting: {spread(start)} CPU seconds\n")
    print(table(COLUMNS, rows(found, start)))
    print("\nwanted: 0.95 to 1.05 in the third column, about 1 in the last")


def method(images: Path, given: Setting, epochs: tuple[str, str]):
    """Returns what trains on a folder that graft divides itself."""
    here = Setting(images, given.backbone, given.weights, given.image_size)
    return lambda seed: graft(ONE_STAGE, here, seed, *epochs)


def folder_of(place: Path, count: int, size: tuple[int, int]) -> Path:
    """Generates so many images."""
    from generating import generate

    return generate(place / str(count), count, count, size)


def rows(found, start):
    """Yields a row for each number of images."""
    costs = {
        count: [
            1000 * (each.used.cpu_seconds - began) / (count - FEW)
            for each, began in zip(outcomes, start, strict=True)
        ]
        for count, outcomes in found.items()
    }
    peaks = {count: [x.used.peak_bytes / 1e6 for x in each] for count, each in found.items()}
    least = min(found)
    for count in found:
        cost, peak = costs[count], peaks[count]
        cost_to, peak_to = (
            [one / other for one, other in zip(of[count], of[least], strict=True)]
            for of in (costs, peaks)
        )
        figures = ((cost, ".2f"), (cost_to, ".3f"), (peak, ".0f"), (peak_to, ".2f"))
        yield count, *(spread(values, form) for values, form in figures)


if __name__ == "__main__":
    main()
