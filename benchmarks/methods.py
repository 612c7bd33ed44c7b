"""The methods that benchmarks compare, each as a process of its own on the same images."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from measuring import MATERIAL, ROOT, Used, measure

from app.backbones.table import find_backbone

BASELINES = Path(__file__).parent / "baselines"
ONE_STAGE = Path(__file__).parent / "one_stage.py"
FOLDER = ROOT / "recipes" / "folder.py"
FINE_TUNE = ROOT / "recipes" / "fine_tune.py"


@dataclass(frozen=True)
class Setting:
    """What all methods are given.

    Attributes:
        images: A folder that holds the folders train and test.
        backbone: A MobileNetV2, by its name in graft.
        weights: The path of a file without its top, or none.
        image_size: Pixels.
    """

    images: Path
    backbone: str
    weights: str
    image_size: int


@dataclass(frozen=True)
class Outcome:
    """What a method reached, and what it used.

    Attributes:
        used: By the whole process, from its start.
        right: Whether each test image was answered rightly, by its path in the test folder.
    """

    used: Used
    right: Mapping[str, bool]


def arguments(
    about: str, backbone: str = "mobilenet_v2", image_size: int = 224
) -> argparse.ArgumentParser:
    """Returns a parser of the arguments that every comparison has."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="holds train and test; flowers if left out")
    parser.add_argument("--backbone", default=backbone, help="a width of MobileNetV2")
    parser.add_argument("--weights", help="a file without its top, or none; found if left out")
    parser.add_argument("--image-size", type=int, default=image_size, help="pixels")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each, each its own seed")
    parser.add_argument(
        "--quick", action="store_true", help="few small images, to see that it runs"
    )
    return parser


@contextmanager
def setting(asked: argparse.Namespace, train: int = 600, test: int = 150) -> Iterator[Setting]:
    """Finds images and weights, or makes images and does without weights, and says so."""
    with tempfile.TemporaryDirectory() as temporary:
        weights = asked.weights or _weights(asked.backbone)
        images = asked.images or MATERIAL / "datasets" / "flowers"
        if asked.quick:
            train, test, size, pixels = 60, 20, 64, (80, 60)
        else:
            size, pixels = asked.image_size, (500, 375)
        if asked.quick or not images.is_dir():
            from generating import generate

            print(f"on {train} generated images, tested on {test}", file=sys.stderr)
            images = Path(temporary)
            for seed, (part, count) in enumerate({"train": train, "test": test}.items()):
                generate(images / part, count, seed, pixels)
        yield Setting(images, asked.backbone, weights, size)


def _weights(backbone: str) -> str:
    names = find_backbone(backbone).weights_names()
    found = [MATERIAL / "keras_home" / "models" / name for name in names]
    for file in found:
        if file.is_file():
            return str(file)
    print(f"random weights: {MATERIAL} holds none for {backbone}", file=sys.stderr)
    return "none"


def tested(given: Setting) -> Path:
    """Returns the folder that is kept apart: test, or val; all of it if graft is to divide it."""
    folders = (given.images / name for name in ("test", "val"))
    return next((each for each in folders if each.is_dir()), given.images).absolute()


def baseline(name: str, given: Setting, seed: int, *options: str) -> Outcome:
    """Runs one of the scripts in `baselines/`."""
    alpha = dict(find_backbone(given.backbone).arguments)["alpha"]
    test = tested(given)
    command = [sys.executable, BASELINES / f"{name}.py"]
    command += ["--train", given.images / "train", "--test", test]
    command += ["--weights", given.weights, "--alpha", str(alpha)]
    command += ["--image-size", str(given.image_size), "--seed", str(seed), *options]
    used = measure(command)
    said = json.loads(used.output.splitlines()[-1])
    right = set(said["right"])
    files = (str(file.relative_to(test)) for file in sorted(test.glob("*/*")))
    return Outcome(used, {file: file in right for file in files})


def graft(
    recipe: Path, given: Setting, seed: int, *changes: str, keep: Path | None = None
) -> Outcome:
    """Trains a recipe by the command line, with an empty cache of features.

    Args:
        recipe: Its file.
        given: Its images and backbone.
        seed: Of the run.
        *changes: Further settings, as they are typed.
        keep: A folder for the cache that later runs may use; an empty one if None.
    """
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary, "run")
        command = [Path(sys.executable).with_name("graft"), "train", recipe, "--run-dir", run]
        command += ["--data.source", given.images, "--backbone", given.backbone]
        command += ["--weights", given.weights, "--data.image_size", str(given.image_size)]
        cache = {"GRAFT_CACHE": str(keep or Path(temporary, "cache"))}
        used = measure([*command, "--seed", str(seed), *changes], cache)
        with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    test = tested(given)
    right = {str(Path(r["file"]).relative_to(test)): r["class"] == r["label"] for r in rows}
    return Outcome(used, right)
