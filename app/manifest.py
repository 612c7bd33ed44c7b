"""What a run started from: data, weights, versions, hardware."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from app.backbones.weights import Provenance
from app.data.index import Index, fingerprint
from app.data.splits import SPLITS
from app.errors import RunError
from app.recipe import Recipe
from app.training import devices
from app.version import __version__

_log = logging.getLogger("graft")


def build_manifest(
    recipe: Recipe, index: Index, size: int, provenance: Provenance
) -> dict[str, Any]:
    """Writes down what a run starts from, and on what.

    Returns:
        What `manifest.json` holds: class names in order and whether an image carries many,
        image size, backbone, weights with their hash, the data's fingerprint and counts,
        seed, precision, engine, versions, hardware.
    """
    counts = {name: len(index.split(name)) for name in SPLITS}
    return {
        "class_names": list(index.class_names),
        "many_labels": index.many_labels,
        "image_size": size,
        "backbone": recipe.backbone,
        "weights": {key: value and str(value) for key, value in asdict(provenance).items()},
        "data": {
            "source": recipe.data.source,
            "fingerprint": fingerprint(index),
            "images": counts,
            "unreadable": [[str(path), reason] for path, reason in index.unreadable],
        },
        "seed": recipe.seed,
        **surroundings(),
    }


def surroundings() -> dict[str, Any]:
    """Writes down with what, and on what, something is computed."""
    packages = {"tensorflow", keras.config.backend(), "keras", "albumentations", "numpy"}
    return {
        "precision": keras.config.dtype_policy().name,
        "engine": keras.config.backend(),
        "versions": {
            "graft": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in sorted(packages)},
        },
        "hardware": {
            "machine": platform.machine(),
            "processors": _cores(),
            # An operation is divided among these; their number decides how sums are rounded.
            "threads": tf.config.threading.get_intra_op_parallelism_threads() or _cores(),
            "gpus": devices.gpus(),
        },
    }


def differences_that_count(
    before: dict[str, Any], now: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """Names what of a machine must be as it was for a run to go on: `weights`, `a -> b`."""
    before = {"engine": "tensorflow", **before}  # runs of earlier versions did not say it
    for what, keys in {
        "precision": ("precision",),
        "engine": ("engine",),
        "weights": ("weights", "sha256"),
        "GPUs": ("hardware", "gpus"),
    }.items():
        old, new = before, now
        for key in keys:
            old, new = old[key], new[key]
        if old != new:
            yield what, f"{old} -> {new}"


def check_same(directory: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Makes sure that what was begun can be gone on with here and now.

    Args:
        directory: Of the run.
        before: Its manifest.
        now: What its manifest would be.

    Raises:
        RunError: If weights, precision, engine or GPUs are others.
    """
    for what, different in differences_that_count(before, now):
        raise RunError(
            f"{directory} was begun with other {what} ({different}):"
            " go on with those, or begin a new run"
        )
    if before["versions"] != now["versions"]:
        _log.warning("begun with other versions of Python or its packages: bits may differ")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
