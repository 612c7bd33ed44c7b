"""How well features tell classes apart, measured on images with labels beside pretraining."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from app.data.labelled import readable, targets_to_tell
from app.data.sampling import sample
from app.data.sources import list_images
from app.data.views import view_batches
from app.features.filling import batch_size
from app.features.transferability import credit_of, held_out_scores


@dataclass(frozen=True)
class Probe:
    """Images, and what they show.

    Attributes:
        pixels: uint8 `[n, size, size, 3]`.
        targets: `[n, classes]` of 0 and 1.
        many_labels: Whether an image carries any number of labels.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.float64]
    many_labels: bool = False

    def accuracy(self, features: keras.Model) -> float:
        """Returns the share that a linear classifier names rightly, fitted to all others.

        Ridge regression on standardised features, leave one out; see `held_out_scores`, and
        `ranking_precision` for what is right with many labels.

        Args:
            features: Pixels of 0 to 255 in, `[n, width]` out.
        """
        rows = np.asarray(features.predict(self.pixels, batch_size=64, verbose=0), np.float64)
        rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
        scores = held_out_scores(rows, self.targets)
        return float(credit_of(scores, self.targets, self.many_labels).mean())


def read_probe(source: str, size: int, most: int | None = None) -> Probe:
    """Reads some images of each class of a source; its test images are left alone.

    Args:
        source: What the `data.source` of a recipe can be.
        size: Side in pixels.
        most: How many images; see `sample`.

    Raises:
        DataError: If there are none, over 10 % of the files are unreadable, or all that is left
            is of one class.
    """
    listing = sample(list_images(source), most)
    images = readable(listing)
    targets = targets_to_tell(listing, images)
    batches = view_batches(images, 0, None, size, batch_size())
    pixels = np.concatenate([batch.numpy() for batch in batches])
    return Probe(pixels, targets, listing.many_labels)
