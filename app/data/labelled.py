"""Images of a listing that can be read, each once, and their classes as numbers."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.data.index import MOST_UNREADABLE, Image, look
from app.data.sources import Listing
from app.errors import DataError

_log = logging.getLogger("graft")


def readable(listing: Listing) -> list[Image]:
    """Looks at every file; leaves out what is no image, and what is there twice.

    Raises:
        DataError: If over 10 % of the files are unreadable.
    """
    found, unreadable = look(listing.files)
    for path, reason in unreadable:
        _log.warning("left out: %s (%s)", path, reason)
    if len(unreadable) > MOST_UNREADABLE * len(listing.files):
        raise DataError(
            f"{len(unreadable)} of {len(listing.files)} files chosen from {listing.root} cannot"
            " be read as images: more than 10 %, mend or remove them"
        )
    images: dict[str, Image] = {}
    for image in found:
        images.setdefault(image.sha256, image)
    twice = len(found) - len(images)
    if twice:  # one would answer the other
        _log.info("left out: %d files with the same bytes as another", twice)
    return list(images.values())


def targets_of(listing: Listing, images: Sequence[Image]) -> NDArray[np.float64]:
    """Returns 1 where an image belongs to a class or carries its label, else 0; `[n, classes]`."""
    columns = {name: column for column, name in enumerate(listing.class_names)}
    targets = np.zeros((len(images), len(columns)))
    for row, image in zip(targets, images, strict=True):
        row[[columns[name] for name in image.class_names]] = 1.0
    return targets


def targets_to_tell(listing: Listing, images: Sequence[Image]) -> NDArray[np.float64]:
    """Returns the same, of images that differ in it.

    Raises:
        DataError: If they all show the same.
    """
    targets = targets_of(listing, images)
    if (targets.min(axis=0) == targets.max(axis=0)).all():
        raise DataError(f"the {len(images)} images of {listing.root} all show the same: add others")
    return targets
