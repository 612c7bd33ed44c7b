"""What is known of an export, gathered for its card."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.backbones.licences import licence_of
from app.data.sources import SEPARATOR
from app.errors import RunError
from app.exports.calibration import calibration_error, cooled
from app.exports.card import RECIPE, limits
from app.exports.meaning import Meaning
from app.exports.parity import Certificate
from app.exports.signatures import signatures_of
from app.run_directory import Run
from app.settings import to_json


def describe(
    run: Run, meaning: Meaning, certificates: Sequence[Certificate], folder: Path, version: int
) -> dict[str, Any]:
    """Gathers what the card of an export says.

    Args:
        run: That it was made from.
        meaning: Of its logits.
        certificates: Of its formats; none if nothing was proven.
        folder: The export, as far as it is written.
        version: Its number.

    Raises:
        RunError: If the predictions of the run cannot be read.
    """
    manifest, metrics = run.manifest, run.metrics
    card = {
        "name": run.recipe.name,
        "version": version,
        "written": date.today().isoformat(),
        "class_names": list(meaning.class_names),
        "many_labels": meaning.many_labels,
        "answers": {
            "temperature": meaning.temperature,
            "unsure_below": meaning.unsure_below,
            "top_k": min(meaning.top_k, len(meaning.class_names)),
        },
        "metrics": {name: _shown(measured) for name, measured in metrics.items()},
        "calibration": _calibration(run, meaning),
        "parity": [certificate.to_plain() for certificate in certificates],
        "signatures": signatures_of(folder),
        "run": run.directory.name,
        "recipe": json.loads(to_json(run.recipe)),
        **{key: manifest[key] for key in ("backbone", "image_size", "precision", "seed")},
        **{key: manifest[key] for key in ("versions", "hardware")},
        # Not where they lie on this machine: an export is handed on.
        "weights": {key: manifest["weights"][key] for key in ("source", "sha256")},
        "licence": licence_of(manifest["backbone"], manifest["weights"]["source"]),
        "data": {key: manifest["data"][key] for key in ("fingerprint", "images")},
        "reproduce": f"graft train {RECIPE} --data.source FOLDER_OF_THE_IMAGES",
    }
    card["recipe"]["data"]["source"] = ""
    return {**card, "limits": limits(card)}


def _shown(measured: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in measured.items() if key != "confusion"}


def _calibration(run: Run, meaning: Meaning) -> dict[str, Any]:
    found: dict[str, Any] = {"error": {}, "before": {}, "sure": {}}
    for split in run.metrics:
        before, labels = answers_of(run, split, meaning)
        shares = cooled(before, meaning.temperature, meaning.many_labels)
        found["error"][split] = calibration_error(shares, labels)
        found["before"][split] = calibration_error(before, labels)
        if meaning.unsure_below is not None:
            sure = meaning.sureness(tf.constant(shares)).numpy() >= meaning.unsure_below
            said = shares >= 0.5 if meaning.many_labels else shares.argmax(axis=1)
            right = (said == labels).reshape(len(labels), -1).all(axis=1)
            found["sure"][split] = {
                "share": float(sure.mean()),
                "accuracy": float(right[sure].mean()) if sure.any() else 0.0,
            }
    return found


def answers_of(run: Run, split: str, meaning: Meaning) -> tuple[NDArray[Any], NDArray[Any]]:
    """Reads what a run answered to the images of a split.

    Returns:
        Probabilities, float32 `[n, classes]`, and labels, `[n]`, or `[n, classes]` of 0 and 1
        where an image carries many.

    Raises:
        RunError: If `predictions.csv` is missing or damaged.
    """
    names = list(meaning.class_names)
    try:
        with run.predictions.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == split]
        shares = [[float(row[f"probability_{name}"]) for name in names] for row in rows]
        if meaning.many_labels:
            truth = [[name in row["class"].split(SEPARATOR) for name in names] for row in rows]
        else:
            truth = [names.index(row["class"]) for row in rows]  # type: ignore[misc]  # numbers
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise RunError(f"{run.predictions} cannot be read: {error}") from error
    return np.array(shares, np.float32), np.array(truth)
