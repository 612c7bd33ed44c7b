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
from app.backbones.weights import is_embedded
from app.data.sources import SEPARATOR
from app.errors import RunError
from app.exports.calibration import calibration_error, cooled
from app.exports.card import RECIPE, limits
from app.exports.meaning import Meaning
from app.exports.parity import Certificate, right_answers
from app.exports.signatures import signatures_of
from app.run_directory import Run
from app.settings import to_json

_FILE = "a file"


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
    weights = name_of_weights(manifest["weights"]["source"], manifest["weights"]["file"])
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
        "weights": {"source": weights, "sha256": manifest["weights"]["sha256"]},
        "licence": licence_of(manifest["backbone"], weights),
        "data": {key: manifest["data"][key] for key in ("fingerprint", "images")},
        "reproduce": f"graft train {RECIPE} --data.source FOLDER_OF_THE_IMAGES",
    }
    if weights == _FILE:
        card["reproduce"] += " --weights FILE"
    card["recipe"]["weights"] = "imagenet" if weights == _FILE else weights
    card["recipe"]["data"]["source"] = ""
    return {**card, "limits": limits(card)}


def name_of_weights(source: str, file: str | None) -> str:
    """Names weights as anybody can ask for them, not where they lie: an export is handed on.

    Args:
        source: As the manifest of a run has it.
        file: Likewise.

    Returns:
        Of those that graft ships the version, for `embedded` is another one in a later graft.
    """
    if file and is_embedded(source):
        return Path(file).stem
    return source if source in ("imagenet", "none") else _FILE


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
            right = right_answers(shares, labels)
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
    shares, truth = [], []
    try:
        with run.predictions.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            columns = next(rows)
            of_class, of_split = columns.index("class"), columns.index("split")
            first = columns.index(f"probability_{names[0]}")
            for row in rows:
                if row[of_split] == split:
                    shares.append(np.array(row[first:], np.float32))
                    truth.append(_truth(row[of_class], names, meaning.many_labels))
        found = np.stack(shares)
    except (OSError, ValueError, KeyError, IndexError, StopIteration, csv.Error) as error:
        raise RunError(f"{run.predictions} cannot be read: {error}") from error
    return found, np.array(truth)


def _truth(text: str, names: list[str], many_labels: bool) -> int | list[bool]:
    if not many_labels:
        return names.index(text)
    shown = text.split(SEPARATOR)
    return [name in shown for name in names]
