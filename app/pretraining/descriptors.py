"""What can be said of an image without learning anything: its edges and its colours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GRID, DIRECTIONS, LEVELS = 4, 9, 8
# Edges and mean colours of each cell, and how often each level of each channel occurs.
WIDTH = GRID * GRID * (DIRECTIONS + 3) + 3 * LEVELS


def describe(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describes images by histograms of oriented gradients, and of colours.

    Directions are those of Dalal and Triggs 2005 (doi 10.1109/CVPR.2005.177): nine over half a
    turn, each pixel's divided among the two nearest, in 4 x 4 cells. The whole image is normalised
    and not each cell, so that cells differ in strength. Roots make faint ones count.

    Args:
        pixels: uint8 `[n, size, size, 3]`, RGB; the size is 4 or more.

    Returns:
        `[n, WIDTH]`, each number about 0 to 1.
    """
    count, size = len(pixels), pixels.shape[1]
    cells = np.arange(size) * GRID // size
    cell = cells[:, None] * GRID + cells[None]
    return np.concatenate(
        [_edges(pixels, cell), _cells(pixels, cell), _levels(pixels)], axis=1, dtype=np.float32
    ).reshape(count, WIDTH)


def _edges(pixels: NDArray[np.uint8], cell: NDArray[np.intp]) -> NDArray[np.float64]:
    grey = pixels.astype(np.float32).sum(axis=3) / (3 * 255)
    down, across = np.zeros_like(grey), np.zeros_like(grey)
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    across[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    place = np.arctan2(down, across) * np.float32(DIRECTIONS / np.pi)
    lower = np.floor(place)
    upper_share = place - lower
    strength = np.hypot(down, across)
    first = cell + np.arange(len(pixels))[:, None, None] * GRID * GRID
    found = np.zeros(len(pixels) * GRID * GRID * DIRECTIONS)
    for step, share in ((0, 1 - upper_share), (1, upper_share)):
        direction = (lower.astype(np.intp) + step) % DIRECTIONS
        where = (first * DIRECTIONS + direction).ravel()
        found += np.bincount(where, (strength * share).ravel(), len(found))
    edges = found.reshape(len(pixels), -1) / (cell.size / GRID**2)
    mean = np.sqrt((edges**2).sum(axis=1, keepdims=True)) / GRID
    rooted: NDArray[np.float64] = np.sqrt(edges / (mean + 0.01))
    return rooted


def _cells(pixels: NDArray[np.uint8], cell: NDArray[np.intp]) -> NDArray[np.float64]:
    """The mean colour of each cell."""
    sums = np.zeros((len(pixels), GRID * GRID, 3))
    for number in range(GRID * GRID):
        rows, columns = np.nonzero(cell == number)
        part = pixels[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        sums[:, number] = part.mean(axis=(1, 2))
    return sums.reshape(len(pixels), -1) / 255


def _levels(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    count = len(pixels) * 3 * LEVELS
    first = (np.arange(len(pixels))[:, None] * 3 + np.arange(3)) * LEVELS
    where = first[:, None, None] + pixels // (256 // LEVELS)
    found = np.bincount(where.ravel(), minlength=count).reshape(len(pixels), -1)
    rooted: NDArray[np.float64] = np.sqrt(found / (pixels.shape[1] * pixels.shape[2]))
    return rooted
