"""The images of a search, divided once: all trials see the same."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

from app.data.index import Index, changed_images, fingerprint, read_index, write_index
from app.errors import RunError
from app.files import write_whole
from app.preparation import prepare
from app.prepared import Prepared
from app.tuning.request import Tuning

_ABOUT, _SPLITS = "images.json", "splits.csv"
# Up to so many points of chance are not worth five times the work.
MOST_POINTS = 4.0
_log = logging.getLogger("graft")


def images_of(tuning: Tuning) -> tuple[Index, Prepared | None]:
    """Divides the images of a search, or reads how they were divided.

    Returns:
        The images; and the recipe as written, if it had to be made ready for that.

    Raises:
        GraftError: If images will not do, or are not what they were.
    """
    about = tuning.directory / _ABOUT
    if about.is_file():
        said = json.loads(about.read_text("utf-8"))
        index = read_index(
            tuning.directory / _SPLITS, said["class_names"], bool(said["many_labels"])
        )
        changed = changed_images(index.images)
        if changed:
            raise RunError(
                f"{len(changed)} images that {tuning.directory} was begun with are gone or changed,"
                f" such as {changed[0].path}: put them back as they were, or begin a new tuning"
                " with --output"
            )
        return index, None
    prepared = prepare(tuning.request.recipe)
    write(prepared.index, tuning.directory)
    if not tuning.request.folds:
        _say_how_coarse(prepared.index)
    return prepared.index, prepared


def _say_how_coarse(index: Index) -> None:
    """Warns of few validation images, by twice the standard error of an accuracy of 0.8."""
    count = len(index.split("validation"))
    points = 200 * math.sqrt(0.8 * 0.2 / max(count, 1))
    if points > MOST_POINTS:
        _log.warning(
            "on %d validation images chance moves an accuracy by about %.0f points either way:"
            " --folds 5 measures each trial on all %d images that are not for testing",
            count,
            points,
            len(index.images) - len(index.split("test")),
        )


def write(index: Index, directory: Path) -> None:
    """Writes the images down: `splits.csv` first, and what it needs to be read last."""
    write_index(index, directory / _SPLITS)
    about = {
        "class_names": list(index.class_names),
        "many_labels": index.many_labels,
        "fingerprint": fingerprint(index),
    }
    write_whole(directory / _ABOUT, json.dumps(about, indent=2) + "\n")
