"""The plane on which generated images are drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def turns(angles: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Matrices `[..., 2, 2]` that turn points `[n, 2]` by angles in radians: points @ turns."""
    found = np.empty((*np.shape(angles), 2, 2))
    found[..., 0, 0] = found[..., 1, 1] = np.cos(angles)
    found[..., 1, 0] = np.sin(angles)
    found[..., 0, 1] = -found[..., 1, 0]
    return found
