"""Colours for generated images, and the painting with them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Colors = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def palette(random: np.random.Generator, count: int) -> Colors:
    """Draws colours that go together as those of a scene do.

    They scatter about a middle, mostly in brightness, as in photographs, where red, green and
    blue rise and fall together.

    Args:
        random: Draws them.
        count: How many.

    Returns:
        RGB of 0 to 255, `[count, 3]`.
    """
    drawn = random.standard_normal((count + 2, 4)).astype(np.float32)
    middle = 127 + 50 * drawn[0, :3]
    bright, colored = (60, 35) * np.exp((0.3, 0.5) * drawn[1, :2]).astype(np.float32)
    around = bright * drawn[2:, 3:] + colored * drawn[2:, :3]
    return np.clip(middle + around, 0, 255, dtype=np.float32)


def mixed(planes: NDArray[Any], sides: NDArray[Any], origin: NDArray[Any]) -> Pixels:
    """Makes colours of numbers: each number times its side of the colour cube, from an origin.

    Args:
        planes: float32, `[h, w, n]`.
        sides: RGB, `[n, 3]`.
        origin: RGB, `[3]`.

    Returns:
        RGB, `[h, w, 3]`, cut off at 0 and 255.
    """
    colors = cv2.transform(planes, np.column_stack([sides.T, origin]))
    return rounded(colors)


def rounded(image: NDArray[Any]) -> Pixels:
    """Rounds floats to bytes, which end at 0 and 255."""
    made: Pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return made
