"""Colours for generated images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Colors = NDArray[np.float32]


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
    drawn = random.normal(size=(count + 2, 4)).astype(np.float32)
    middle = 127 + 50 * drawn[0, :3]
    bright, colored = 60 * np.exp(0.3 * drawn[1, 0]), 35 * np.exp(0.5 * drawn[1, 1])
    around = bright * drawn[2:, 3:] + colored * drawn[2:, :3]
    found: Colors = np.clip(middle + around, 0, 255)
    return found


def between(low: NDArray[Any], high: NDArray[Any], share: NDArray[Any]) -> Colors:
    """Blends two colours `[3]` by shares `[h, w]` of 0 to 1; `[h, w, 3]`."""
    blended: Colors = low + share[..., None].astype(np.float32) * (high - low)
    return blended
