"""What the baselines have in common: arguments, reading, the network, what is reported.

Only Keras's and TensorFlow's own means; nothing of graft.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# ru_maxrss counts KiB on Linux and bytes on a Mac.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
_phases: dict[str, dict[str, float]] = {}


def parser(about: str) -> argparse.ArgumentParser:
    """Returns a parser of the arguments that every baseline has."""
    made = argparse.ArgumentParser(
        description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--train", type=Path, required=True, help="a folder with one folder a class")
    made.add_argument("--test", type=Path, required=True, help="the same, to measure accuracy on")
    made.add_argument("--weights", default="none", help="MobileNetV2 without its top, an .h5 file")
    made.add_argument("--alpha", type=float, default=1.0, help="width of MobileNetV2")
    made.add_argument("--image-size", type=int, default=224, help="pixels")
    made.add_argument("--batch-size", type=int, default=32, help="images a step")
    made.add_argument("--seed", type=int, default=0, help="of everything that draws")
    return made


def backbone(asked: argparse.Namespace) -> Any:
    """Builds MobileNetV2 without its top; it takes pixels of -1 to 1."""
    import keras

    return keras.applications.MobileNetV2(
        input_shape=(asked.image_size, asked.image_size, 3),
        alpha=asked.alpha,
        include_top=False,
        weights=None if asked.weights == "none" else asked.weights,
    )


def images(folder: Path, asked: argparse.Namespace, **options: Any) -> Any:
    """Opens a folder as Keras does: batches of float32 pixels of 0 to 255, and labels."""
    import keras

    size = options.pop("size", asked.image_size)
    return keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), batch_size=asked.batch_size, verbose=False, **options
    )


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Notes what one part of the work takes."""
    cpu, wall = time.process_time(), time.monotonic()
    yield
    _phases[name] = {
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.monotonic() - wall,
    }


def report(asked: argparse.Namespace, files: Sequence[str], right: Sequence[bool]) -> None:
    """Prints one line of JSON: accuracy, images, seconds, peak memory, and which are right."""
    known = [
        str(Path(file).relative_to(asked.test))
        for file, is_right in zip(files, right, strict=True)
        if is_right
    ]
    said = {
        "accuracy": len(known) / len(files),
        "images": len(files),
        "cpu_seconds": time.process_time(),
        "wall_seconds": sum(each["wall_seconds"] for each in _phases.values()),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT,
        "phases": _phases,
        "right": known,
    }
    print(json.dumps(said))
