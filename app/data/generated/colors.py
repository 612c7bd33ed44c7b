"""Colours for generated images, and how numbers become colours."""

from __future__ import annotations

import math

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
    drawn = random.standard_normal((count + 2, 4))
    bright, colored = 60 * math.exp(0.3 * drawn[1, 0]), 35 * math.exp(0.5 * drawn[1, 1])
    colors = drawn[2:, :3] * colored
    colors += drawn[2:, 3:] * bright + (127 + 50 * drawn[0, :3])
    return np.minimum(np.maximum(colors, 0), 255).astype(np.float32)  # np.clip is slow of few


def whole(colors: Colors) -> Pixels:
    """Rounds colours of 0 to 255 to bytes."""
    made: Pixels = np.rint(colors).astype(np.uint8)
    return made


def mixed(shares: NDArray[np.float32], sides: Colors, origin: Colors | None = None) -> Pixels:
    """Makes colours of numbers: each times its side of a body of colours, all from its origin.

    Args:
        shares: `[size, size, n]`.
        sides: RGB, `[n, 3]`.
        origin: RGB, `[3]`; black if None.

    Returns:
        `[size, size, 3]`, rounded, cut off at 0 and 255.
    """
    height, width, count = shares.shape
    colors = (shares.reshape(-1, count) @ sides).reshape(height, width, 3)
    start = (0.0, 0.0, 0.0) if origin is None else origin.tolist()
    made: Pixels = cv2.add(colors, (*start, 0.0), dtype=cv2.CV_8U)
    return made
