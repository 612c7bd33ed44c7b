"""What features are worth: a linear probe with few labels, for weights of the compact network.

    python benchmarks/probing.py
    python benchmarks/probing.py --weights mine=runs/pretrain_unlabelled/<id> --sets cifar10

A logistic regression learns from 10 and from 100 images a class, drawn by each seed, and is tested
on the test images that the set comes with: CIFAR-10 (the first 2,000 of 10,000, in the order of
their hashes), flowers (150) and hotdog (200). Beside the weights named: random ones, the embedded
ones, MobileNetV2 0.35 from ImageNet at 128 pixels, and no network at all, but histograms of
oriented gradients (doi 10.1109/CVPR.2005.177, by scikit-image, which the extra `pretraining`
brings) and of colours, or the descriptors of `graft pretrain`, learned from generated images.
"""

import argparse
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # many are slower where cores are shared

import keras
import numpy as np
import tensorflow as tf
from measuring import MATERIAL, machine, spread, table
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from app.backbones.build import build_backbone, scale_pixels
from app.backbones.compact import WIDTHS
from app.backbones.table import find_backbone
from app.data.generated import generate
from app.data.views import reader
from app.features.filling import forward_of
from app.pretraining.descriptors import learn_descriptors

SETS = {"cifar10": "test", "flowers": "val", "hotdog": "test"}
LABELS, TESTED = (10, 100), 2000
PARTS = ("means", "deviations")  # of whole maps; the features have quarters in place of the means
STRENGTHS = {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1]}
Extract = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="*", default=[], metavar="NAME=FILE", help="of compact")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=96, help="of compact, in pixels")
    parser.add_argument("--parts", action="store_true", help="of the features of compact, too")
    parser.add_argument("--only", action="store_true", help="nothing but --weights")
    asked = parser.parse_args()
    named = dict(each.split("=", 1) for each in asked.weights)
    extractors = {} if asked.only else usual(asked.image_size)
    extractors |= {
        name: (network("compact", asked.image_size, file), asked.image_size)
        for name, file in named.items()
    }
    if asked.parts:
        of_compact = [*named, *({"random weights", "embedded"} & set(extractors))]
        extractors |= {
            f"{name}: {', '.join(PARTS[:count])}": (
                first_parts_of(extractors[name][0], count),
                asked.image_size,
            )
            for name in of_compact
            for count in range(1, len(PARTS) + 1)
        }
    print(f"{machine()}; {asked.seeds} seeds, medians with least and most\n")
    rows = []
    for name, (extract, size) in extractors.items():
        accuracies = [
            accuracy
            for which in asked.sets
            for accuracy in probed(extract, size, which, asked.seeds)
        ]
        rows.append([name, *accuracies])
    head = [f"{name}, {count} a class" for name in asked.sets for count in LABELS]
    print(table(("features", *head), rows))


def usual(size: int) -> dict[str, tuple[Extract, int]]:
    """Returns what everything is set beside, each with the size of its images."""
    found = {
        "random weights": (network("compact", size, "none"), size),
        "embedded": (network("compact", size, "embedded"), size),
        "gradients and colours": (gradients_and_colors, 64),
        "patches, edges and colours": (learn_descriptors(generate(range(4096), 64), 0), 64),
    }
    file = next(
        (MATERIAL / "keras_home" / "models").glob("mobilenet_v2_*_0.35_224_no_top.h5"), None
    )
    if file:
        found["MobileNetV2 0.35, ImageNet"] = (network("mobilenet_v2_035", 128, str(file)), 128)
    return found


def network(name: str, size: int, weights: str) -> Extract:
    """Returns what computes the pooled features of a backbone, at a size of its images."""
    keras.utils.set_random_seed(0)
    backbone = find_backbone(name)
    base, _ = build_backbone(backbone, size, weights)
    pixels = keras.Input((size, size, 3))
    features = base(scale_pixels(pixels, backbone), training=False)
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D()(features)
    forward = forward_of(keras.Model(pixels, features))
    return lambda images: np.concatenate(
        [forward(tf.constant(images[k : k + 16])) for k in range(0, len(images), 16)]
    )


def first_parts_of(extract: Extract, count: int) -> Extract:
    """Leaves the compact network's features so many of `PARTS`, without places."""

    def left(images: np.ndarray) -> np.ndarray:
        features = extract(images)
        found = []
        for stage in np.split(features, 5 * np.cumsum(WIDTHS)[:-1], axis=1):
            five = stage.reshape(len(stage), 5, -1)
            found += [five[:, :4].mean(axis=1), five[:, 4]][:count]
        return np.concatenate(found, axis=1)

    return left


def gradients_and_colors(images: np.ndarray) -> np.ndarray:
    """Returns histograms of oriented gradients, and of colours, `[n, 1764 + 512]`."""
    from skimage.feature import hog  # of the extra `pretraining`

    gradients = np.stack(
        [hog(each, 9, (8, 8), (2, 2), channel_axis=-1).astype("float32") for each in images]
    )
    bins = (images.astype(int) // 32) @ (64, 8, 1)
    counts = np.stack([np.bincount(each.ravel(), minlength=512) for each in bins])
    return np.concatenate([gradients, np.sqrt(counts / counts.sum(axis=1, keepdims=True))], axis=1)


def probed(extract: Extract, size: int, which: str, seeds: int) -> list[str]:
    """Returns the accuracies with each number of labels, over the seeds."""
    folder = MATERIAL / "datasets" / which
    test = images_of(folder / SETS[which], TESTED)
    train = images_of(folder / "train", None)
    names = {path.parent.name for path in test}
    known = dict(zip(test, extract(read(test, size)), strict=True))
    drawn = {
        (count, seed): draw(train, names, count, seed) for count in LABELS for seed in range(seeds)
    }
    wanted = sorted({path for paths in drawn.values() for path in paths})
    known |= dict(zip(wanted, extract(read(wanted, size)), strict=True))
    return [
        spread([100 * accuracy(known, drawn[count, seed], test) for seed in range(seeds)], ".1f")
        for count in LABELS
    ]


def images_of(folder: Path, most: int | None) -> list[Path]:
    """Lists images in the order of the hashes of their names, so that some are any of them."""
    files = (each for each in folder.rglob("*") if each.is_file())
    ranked = sorted(files, key=lambda each: hashlib.sha256(each.name.encode()).digest())
    return ranked[:most]


def draw(paths: list[Path], names: set[str], count: int, seed: int) -> list[Path]:
    """Draws so many images of each class."""
    random = np.random.default_rng(seed)
    chosen = []
    for name in sorted(names):
        of_class = [path for path in paths if path.parent.name == name]
        chosen += [of_class[k] for k in random.permutation(len(of_class))[:count]]
    return chosen


def read(paths: list[Path], size: int) -> np.ndarray:
    """Reads images as graft does, uint8 `[n, size, size, 3]`."""
    return reader(size)(tf.constant([str(path) for path in paths])).numpy()


def accuracy(known: dict[Path, np.ndarray], train: list[Path], test: list[Path]) -> float:
    """Fits a logistic regression, its strength chosen by cross-validation, and tests it."""
    fitted = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)), STRENGTHS, cv=3
    ).fit([known[path] for path in train], [path.parent.name for path in train])
    return fitted.score([known[path] for path in test], [path.parent.name for path in test])


if __name__ == "__main__":
    main()
