"""Fine-tuning from weights of the compact network, against the same from scratch.

    python benchmarks/from_pretrained.py --weights embedded
    python benchmarks/from_pretrained.py --weights runs/pretrain_unlabelled/<id> --sets cifar10
    python benchmarks/from_pretrained.py --weights embedded --precision mixed_bfloat16

The whole network trains, BatchNorm included, on 100 images a class, drawn by each seed; it is
tested on the images that `benchmarks/probing.py` tests with. Pairs of runs take turns, both of the
same recipe, images and seed; settings of the recipe that are typed count for both. Beside them, on
the same images: MobileNetV2 0.35 from ImageNet at 128 pixels, by `recipes/fine_tune.py`.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from comparing import accuracy, difference
from measuring import MATERIAL, alternate, machine, table
from methods import FINE_TUNE, Outcome, Setting, graft
from probing import SETS, TESTED, draw, images_of

from app import Augmentation, Data, Head, Recipe, Stage

SCRATCH, IMAGENET = "from scratch", "MobileNetV2 0.35, ImageNet"

recipe = Recipe(
    name="whole",
    data=Data(batch_size=32, validation_fraction=0.1),
    augmentation=Augmentation("medium"),
    backbone="compact",
    weights="none",
    head=Head(dropout=0.2),
    stages={
        "warm_up": Stage(epochs=2, learning_rate=3e-3),
        "whole": Stage(
            epochs=30,
            learning_rate=1e-3,
            unfreeze="all",
            train_batch_norm=True,
            optimizer="adamw",
            weight_decay=0.05,
            schedule="cosine",
            warmup_epochs=2.0,
            label_smoothing=0.1,
            keep="last",
            patience=30,
        ),
    },
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="embedded", help="of compact: embedded, or a path")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, default=100, help="images a class")
    parser.add_argument("--image-size", type=int, default=96, help="pixels")
    parser.add_argument("--imagenet", action="store_true", help="nothing but MobileNetV2 0.35")
    asked, settings = parser.parse_known_args()
    print(f"{machine()}; {asked.labels} images a class, {asked.image_size} pixels")
    print(*(["compact with", *settings] if settings else []), end="\n\n")
    starts = {
        asked.weights: (Path(__file__), "compact", asked.weights, asked.image_size, *settings),
        SCRATCH: (Path(__file__), "compact", "none", asked.image_size, *settings),
        IMAGENET: (FINE_TUNE, "mobilenet_v2_035", "imagenet", 128),
    }
    if asked.imagenet:
        starts = {IMAGENET: starts[IMAGENET]}
    rows = []
    for name in asked.sets:
        with tempfile.TemporaryDirectory() as temporary:
            places = [
                laid_out(Path(temporary, str(seed)), name, asked.labels, seed)
                for seed in range(asked.seeds)
            ]
            found = alternate(
                {
                    label: lambda seed, start=start, places=places: trained(
                        places[seed], seed, *start
                    )
                    for label, start in starts.items()
                },
                asked.seeds,
            )
        rows += [[name, label, *written(label, found)] for label in found]
    print(table(("set", "from", "accuracy with its 95 % interval", "more than from scratch"), rows))


def trained(
    images: Path, seed: int, recipe: Path, backbone: str, weights: str, size: int, *settings: str
) -> Outcome:
    """Trains a recipe by the command line."""
    return graft(recipe, Setting(images, backbone, weights, size), seed, *settings)


def written(label: str, found: Mapping[str, Sequence[Outcome]]) -> tuple[str, str]:
    """Writes what a start reached, and how much more that is than from scratch."""
    value, low, high = (100 * each for each in accuracy(found[label]))
    reached = f"{value:.1f} ({low:.1f} to {high:.1f})"
    if label == SCRATCH or SCRATCH not in found:
        return reached, ""
    more = (100 * each for each in difference(found[label], found[SCRATCH]))
    return reached, "{:+.1f} ({:+.1f} to {:+.1f})".format(*more)


def laid_out(place: Path, name: str, labels: int, seed: int) -> Path:
    """Links the images of a seed into folders for training and testing."""
    folder = MATERIAL / "datasets" / name
    test = images_of(folder / SETS[name], TESTED)
    names = {path.parent.name for path in test}
    parts = {"train": draw(images_of(folder / "train", None), names, labels, seed), "test": test}
    for part, paths in parts.items():
        for path in paths:
            link = place / part / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    return place


if __name__ == "__main__":
    main()
