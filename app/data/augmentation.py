"""Varying training images with albumentations, the same way however many threads do it."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Sequence
from dataclasses import replace
from math import atan, degrees, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.recipe import Augmentation

# Else albumentations asks the network for a newer version when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A  # noqa: N812  # after the line above; the name its users know

_SMALLEST_CROP = {
    "light": 0.6,
    "medium": 0.5,
    "strong": 0.3,
    "rand_augment": 0.6,
    "contrastive": 0.15,
}
_REFLECTED = 4  # what lies beyond an image's border: its mirror image


def transforms(augmentation: Augmentation, size: int) -> list[Any]:
    """Lists the albumentations transforms of an augmentation.

    Args:
        augmentation: Of preset `none`, `light` (crop and flip), `medium` (and colour, small
            turns), `strong` (and blur, noise, wider crops, a part hidden),
            `rand_augment` (light, and operations drawn for each image) or `contrastive`
            (narrow crops, strong colour, grey, blur: what SimCLR does, arXiv 2002.05709,
            appendix A, at half its strength of colour).
        size: Side of the square images in pixels; they keep it.
    """
    preset = augmentation.preset
    if preset == "none":
        return []
    area = (_SMALLEST_CROP[preset], 1.0)
    chosen = [A.RandomResizedCrop(size=(size, size), scale=area, ratio=(3 / 4, 4 / 3))]
    chosen += _flips(augmentation.flip)
    if preset in ("medium", "strong"):
        chosen += [
            A.Affine(rotate=(-15, 15), shear=(-5, 5), border_mode=_REFLECTED, p=0.5),
            A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03, p=0.7),
        ]
    if preset == "strong":
        chosen += [
            A.OneOf([A.GaussianBlur(), A.GaussNoise(), A.ToGray(), A.Posterize()], p=0.5),
            A.CoarseDropout(hole_height_range=(0.1, 0.35), hole_width_range=(0.1, 0.35), p=0.5),
        ]
    if preset == "contrastive":
        chosen += [
            A.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, p=0.8),
            A.ToGray(p=0.2),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, size / 80), p=0.3),
        ]
    if preset == "rand_augment" and augmentation.magnitude > 0:
        drawn = operations(augmentation.magnitude)
        chosen.append(A.RandomOrder(drawn, n=augmentation.operations, replace=True))
    return chosen


def _flips(flip: str) -> list[Any]:
    sideways, upside_down = A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)
    return {"none": [], "horizontal": [sideways], "both": [sideways, upside_down]}[flip]


def operations(magnitude: float) -> list[Any]:
    """Lists the fourteen operations from which RandAugment draws (arXiv 1909.13719).

    Those that have a direction take either with equal chance. At magnitude 10 they reach the
    ends of the ranges of AutoAugment (arXiv 1805.09501): 30 degrees, a shear of 0.3,
    0.45 of a side, factors of 0.1 and 1.9, 4 bits, every level inverted. Towards 0 they all
    approach the identity, but for autocontrast and equalize, which have no strength, and for
    white, which solarize turns black before any other level.

    Args:
        magnitude: From 0 to 10.
    """
    share = magnitude / 10
    turn, shear, shift = 30 * share, degrees(atan(0.3 * share)), 0.45 * share
    bits = 8 - round(4 * share)
    return [
        A.NoOp(p=1),
        A.AutoContrast(method="pil", p=1),
        A.Equalize(p=1),
        A.Solarize(threshold_range=(1 - share, 1 - share), p=1),
        A.Posterize(num_bits=bits, p=1) if bits < 8 else A.NoOp(p=1),
        _either([_jitter(saturation=1 + sign * 0.9 * share) for sign in (-1, 1)]),
        _either([_jitter(contrast=1 + sign * 0.9 * share) for sign in (-1, 1)]),
        _either([_jitter(brightness=1 + sign * 0.9 * share) for sign in (-1, 1)]),
        _either(_sharpness(0.9 * share)),
        _either([_moved(rotate=(angle, angle)) for angle in (-turn, turn)]),
        _either([_moved(shear={"x": (angle, angle), "y": (0, 0)}) for angle in (-shear, shear)]),
        _either([_moved(shear={"x": (0, 0), "y": (angle, angle)}) for angle in (-shear, shear)]),
        _either([_moved(translate_percent={"x": (by, by), "y": (0, 0)}) for by in (-shift, shift)]),
        _either([_moved(translate_percent={"x": (0, 0), "y": (by, by)}) for by in (-shift, shift)]),
    ]


def _either(directions: list[Any]) -> Any:
    return A.OneOf(directions, p=1)


def _jitter(**factor: float) -> Any:
    unchanged = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    return A.ColorJitter(**{name: (by, by) for name, by in (unchanged | factor).items()}, p=1)


def _moved(**how: Any) -> Any:
    return A.Affine(**how, border_mode=_REFLECTED, p=1)


def _sharpness(by: float) -> list[Any]:
    """Blends with, or moves away from, the image smoothed by a small kernel, as Pillow does.

    That kernel is 5 amid eight 1s, over 13. Moving away from it adds a thirteenth of what
    albumentations' Sharpen adds; blending with it leaves the weight of a pixel itself as the
    Gaussian below does. Sharpen's own way to blur overflows its bytes.
    """
    middle = sqrt(1 - by * 8 / 13)  # of the Gaussian's three weights along each side
    beside = max((1 / middle - 1) / 2, 1e-9)  # as shares of the middle; their log must exist
    sigma = sqrt(-0.5 / log(beside))
    return [
        A.GaussianBlur(blur_limit=(3, 3), sigma_limit=(sigma, sigma), p=1),
        A.Sharpen(alpha=(by / 13, by / 13), lightness=(1.0, 1.0), method="kernel", p=1),
    ]


class Augmenter:
    """Varies images so that run seed, view and the image's contents alone decide how.

    A view is a number: the same view of the same file is the same picture, in whatever split,
    run or subset it occurs.

    Every thread has an albumentations pipeline of its own, given a new generator for each
    image: a shared one would hand out its random numbers in the order of the threads.
    """

    def __init__(self, augmentation: Augmentation, size: int, seed: int) -> None:
        self._augmentation, self._size, self._seed = augmentation, size, seed
        self._of_thread = threading.local()

    @property
    def leaves_as_they_are(self) -> bool:
        """Whether all views of an image are the same."""
        return self._augmentation.preset == "none"

    @property
    def key(self) -> str:
        """Everything that decides a view but its number and the image."""
        made = replace(self._augmentation, mixup=0.0, cutmix=0.0)  # which mix batches, not images
        return f"{made}, {self._size} pixels, seed {self._seed}"

    def __call__(
        self,
        images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
        view: int,
        keys: Sequence[int] | NDArray[np.int64],
    ) -> NDArray[np.uint8]:
        """Varies a batch.

        Args:
            images: uint8 `[batch, size, size, 3]`, RGB, in one array or several; stay as they are.
            view: 0 is the image as it is; each number from 1 on varies it in another way.
            keys: What each image is known by, see `Image.key`; `[batch]`.

        Returns:
            uint8 `[batch, size, size, 3]`.
        """
        if self._augmentation.preset == "none" or view == 0:
            return np.asarray(images)
        pipeline = self._pipeline()
        varied = np.empty((len(images), self._size, self._size, 3), np.uint8)
        for position, key in zip(range(len(images)), keys, strict=True):
            seed = self._image_seed(int(view), int(key))
            # Not set_random_seed: it seeds every transform alike, so that all of them draw the
            # same numbers, and just those images that are cropped closely are mirrored.
            pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
            varied[position] = pipeline(image=images[position])["image"]
        return varied

    def _pipeline(self) -> Any:
        if not hasattr(self._of_thread, "pipeline"):
            self._of_thread.pipeline = A.Compose(transforms(self._augmentation, self._size))
        return self._of_thread.pipeline

    def _image_seed(self, view: int, key: int) -> int:
        return int(np.random.SeedSequence([self._seed, view, key]).generate_state(1)[0])
