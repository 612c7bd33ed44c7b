"""The measure that matters most: accuracy for CPU seconds, on photographs.

    python benchmarks/accuracy.py
    python benchmarks/accuracy.py --sets flowers --seeds 1 --methods strong graft

MobileNetV2 of width 0.35 at 160 pixels, on the published splits of flowers (600 / 150) and hotdog
(500 / 200), and on trashnet, of which at most 1,200 photographs are trained on and half as many
tested, drawn class by class and the same for every seed. Every method sees the same test images;
graft takes the images that choose its weights from its training images, the others train on all.
Processes take turns, and each run of graft starts with an empty cache. The goal: `recipes/
folder.py` as it stands reaches the accuracy of the strong fine-tuning for a quarter of its CPU
seconds.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from comparing import compared, cpu, difference
from measuring import MATERIAL, alternate, goal, importing, machine, ratios
from methods import FOLDER, Setting, arguments, baseline, graft, setting

METHODS = {
    "guide-head": lambda given, seed: baseline("guide", given, seed),
    "guide-both": lambda given, seed: baseline("guide", given, seed, "--fine-tune-epochs", "5"),
    "logistic": lambda given, seed: baseline("logistic", given, seed),
    "strong": lambda given, seed: baseline("strong", given, seed),
    "graft": lambda given, seed: graft(FOLDER, given, seed),
}
QUICK = {
    "guide-head": lambda given, seed: baseline("guide", given, seed, "--epochs", "1"),
    "guide-both": lambda given, seed: baseline(
        "guide", given, seed, "--epochs", "1", "--fine-tune-epochs", "1"
    ),
    "logistic": METHODS["logistic"],
    "strong": lambda given, seed: baseline("strong", given, seed, "--epochs", "1"),
    "graft": lambda given, seed: graft(FOLDER, given, seed, "--epochs", "1"),
}
SETS = ("flowers", "trashnet", "hotdog")
MOST, TEST_SHARE = 1200, 0.3


def main() -> None:
    """Prints a table for each set."""
    parser = arguments(__doc__.splitlines()[0], "mobilenet_v2_035", 160)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, help="of photographs")
    parser.add_argument("--seeds", type=int, default=3, dest="rounds", help="the same as --rounds")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    asked = parser.parse_args()
    known = QUICK if asked.quick else METHODS
    chosen = [name for name in known if name in (*asked.methods, "graft")]
    with ExitStack() as stack:
        given = stack.enter_context(setting(asked))
        print(f"{machine()}; {given.backbone}, {given.image_size} pixels\n")
        generated = asked.quick or not MATERIAL.is_dir() or asked.images
        for name in ("images",) if generated else asked.sets:
            here = given if generated else stack.enter_context(published(name, given))
            show(name, {each: known[each] for each in chosen}, here, asked.rounds)


def show(name: str, methods: dict, given: Setting, seeds: int) -> None:
    """Measures one set, and prints its table."""
    turns = {
        key: lambda seed, method=method: method(given, seed) for key, method in methods.items()
    }
    found = alternate(turns, seeds)
    counts = [len(list(given.images.glob(f"{part}/*/*"))) for part in ("train", "val", "test")]
    print(f"## {name}: {counts[0]} to train on, {sum(counts[1:])} to test on, {seeds} seeds\n")
    print(compared(found, importing()), end="\n\n", flush=True)
    if "strong" in found:
        ratio = ratios(cpu(found["graft"]), cpu(found["strong"]))
        better = "{:+.3f} ({:+.3f} to {:+.3f})".format(*difference(found["graft"], found["strong"]))
        print(f"CPU seconds, graft / strong: {goal(ratio, 'at most 0.25')}")
        print(f"accuracy, graft - strong: {better}; wanted: no lower than 0\n", flush=True)


@contextmanager
def published(name: str, given: Setting) -> Iterator[Setting]:
    """Finds the splits of a set, or divides it by links in a temporary folder."""
    folder = MATERIAL / "datasets" / name
    if (folder / "train").is_dir():
        yield replace(given, images=folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        divide(folder, Path(temporary))
        yield replace(given, images=Path(temporary))


def divide(folder: Path, into: Path, most: int = MOST) -> None:
    """Links images of a folder of classes as train and test, each class by its share.

    By a hash of the name, so that the same images are always divided in the same way.

    Args:
        folder: Holds one folder a class.
        into: Gets the folders train and test.
        most: To train on; the test split is cut by the same factor.
    """
    classes = {
        each: sorted(each.iterdir(), key=_rank) for each in folder.iterdir() if each.is_dir()
    }
    total = sum(len(files) for files in classes.values())
    test_most = min(total * TEST_SHARE, most / 2)
    train_most = min(total * (1 - TEST_SHARE), most)
    for each, files in classes.items():
        test, train = (round(part * len(files) / total) for part in (test_most, train_most))
        for part, which in {"test": files[:test], "train": files[test : test + train]}.items():
            (into / part / each.name).mkdir(parents=True)
            for file in which:
                (into / part / each.name / file.name).symlink_to(file.absolute())


def _rank(file: Path) -> str:
    return hashlib.sha256(f"{file.parent.name}/{file.name}".encode()).hexdigest()


if __name__ == "__main__":
    main()
