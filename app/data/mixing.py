"""Mixing the images of a batch with one another, and their labels with them."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from app.recipe import Augmentation

# Keeps these numbers apart from the augmenter's. Not 0: a seed that ends in it is the same
# as one that leaves it out.
_MIXING = 1


@dataclass(frozen=True)
class Mixing:
    """Mixes images so that run seed, epoch and step alone decide how.

    Each batch draws one share, and an order of its images: each is mixed with the one that
    comes in its place, itself at times.

    Attributes:
        augmentation: Its `mixup` and `cutmix` are the alphas of the Beta distribution of the
            share for mixup (arXiv 1710.09412) and cutmix (arXiv 1905.04899). If neither is 0,
            each batch draws one of the two with equal chance; one of them must not be.
        seed: Of the run.
    """

    augmentation: Augmentation
    seed: int

    @property
    def mixes(self) -> bool:
        """Whether there is anything to do at all."""
        return self.augmentation.mixup > 0 or self.augmentation.cutmix > 0

    def __call__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64] | NDArray[np.float32],
        class_count: int,
        epoch: int,
        step: int,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Mixes a batch.

        Args:
            images: uint8 `[batch, height, width, 3]`; stay as they are.
            labels: int `[batch]`, or float `[batch, classes]` with a 1 for each label.
            class_count: Two classes give two columns.
            epoch: Counted from the start of the run.
            step: Counted from the start of the epoch.

        Returns:
            uint8 `[batch, height, width, 3]` and float32 `[batch, classes]`, the labels of
            both images by the shares that they have in the mixed one.
        """
        random = self._random(int(epoch), int(step))
        mixup, cutmix = self.augmentation.mixup, self.augmentation.cutmix
        cuts = cutmix > 0 and (mixup == 0 or random.random() < 0.5)
        alpha = cutmix if cuts else mixup
        share = float(random.beta(alpha, alpha))
        order = random.permutation(len(images))
        if cuts:
            box = _box(images.shape[1], images.shape[2], share, random)
            mixed, share = _patched(images, order, box)
        else:
            mixed = _blended(images, order, share)
        targets = _targets(labels, class_count)
        return mixed, np.float32(share) * targets + np.float32(1 - share) * targets[order]

    def _random(self, epoch: int, step: int) -> np.random.Generator:
        seeds = np.random.SeedSequence([self.seed, epoch, step, _MIXING])
        return np.random.default_rng(seeds)


def _blended(
    images: NDArray[np.uint8], order: NDArray[np.int64], share: float
) -> NDArray[np.uint8]:
    """One image at a time: its floats stay in the processor's cache, twice as quick."""
    mixed = np.empty_like(images)
    for position, other in enumerate(order):
        levels = images[position] * np.float32(share)
        levels += images[other] * np.float32(1 - share)
        mixed[position] = np.rint(levels, out=levels)
    return mixed


def _box(height: int, width: int, share: float, random: np.random.Generator) -> tuple[slice, slice]:
    """Returns rows and columns of a part shaped like the image; its middle lies anywhere in it."""
    side = sqrt(1 - share)
    return _stretch(height, side, random), _stretch(width, side, random)


def _stretch(length: int, side: float, random: np.random.Generator) -> slice:
    taken = round(length * side)
    start = int(random.integers(length)) - taken // 2
    return slice(max(start, 0), min(start + taken, length))


def _patched(
    images: NDArray[np.uint8], order: NDArray[np.int64], box: tuple[slice, slice]
) -> tuple[NDArray[np.uint8], float]:
    """Replaces a part of each image; returns too what share of it is left, border or not."""
    rows, columns = box
    mixed = images.copy()
    mixed[:, rows, columns] = images[order, rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, 1 - area / (images.shape[1] * images.shape[2])


def _targets(
    labels: NDArray[np.int64] | NDArray[np.float32], class_count: int
) -> NDArray[np.float32]:
    if labels.ndim == 2:
        return labels.astype(np.float32)
    return np.eye(class_count, dtype=np.float32)[labels]
