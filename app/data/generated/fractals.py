"""Fractals: what the maps of an iterated function system make of one another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import accumulate, repeat
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.data.generated.colors import Pixels, palette, rounded

_DEPTH = {2: 12, 3: 7, 4: 6, 5: 5}  # of 2 to 5 maps; two to four thousand points


@dataclass(frozen=True)
class Fractal:
    """Affine maps, `[n, 2, 2]` and `[n, 2]`, which draw everything together."""

    turns: NDArray[np.float32]
    shifts: NDArray[np.float32]


def draw_fractal(random: np.random.Generator) -> Fractal:
    """Draws the maps of a fractal that is neither a dust of points nor a blot.

    By their singular values: the sum of the greater ones and twice the smaller ones is to lie
    between (5 + n) / 2 and (6 + n) / 2 (Anderson and Farrell 2022, "Improving Fractal
    Pre-training", arXiv 2110.03091, section 3.2). It is less where a map would stretch: each
    shrinks, to 0.95 at most.
    """
    count = int(random.integers(2, 6))
    greater = 0.3 + 0.7 * random.random(count)
    smaller = greater * (0.2 + 0.8 * random.random(count))
    wanted = random.uniform(5 + count, 6 + count) / 2
    share = min(wanted / (greater + 2 * smaller).sum(), 0.95 / greater.max())
    sizes = np.stack([greater, smaller], axis=1) * share
    first, second = _turns(2 * np.pi * random.random((2, count)))
    mirrored = 2.0 * random.integers(0, 2, (count, 2)) - 1
    turns = first @ (sizes[:, :, None] * second) * mirrored[:, None]
    shifts = 2 * random.random((count, 2)) - 1
    return Fractal(turns.astype(np.float32), shifts.astype(np.float32))


def paint_fractal(random: np.random.Generator, fractal: Fractal, onto: Pixels) -> Pixels:
    """Paints a fractal over an image, turned, mirrored and coloured by chance.

    Args:
        random: Draws how it lies and its colours.
        fractal: What is painted.
        onto: RGB, `[size, size, 3]`; stays as it is.

    Returns:
        The same shape.
    """
    size, count = len(onto), len(fractal.turns)
    points = _turns(2 * np.pi * random.random()).T.astype(np.float32) @ _points(fractal)
    shares = _shares(_laid(random, points, size), count, size)
    colors = palette(random, count)
    if random.random() < 0.5:
        shares = _grown(shares)
    shown = shares[:, 1:-1, 1:-1].reshape(count, -1)
    painted = rounded(shown.T @ colors).reshape(size, size, 3)
    return cv2.copyTo(painted, shown.any(axis=0).reshape(size, size).astype(np.uint8), onto.copy())


def _turns(angles: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Matrices that turn points, `[..., 2, 2]`."""
    cosine, sine = np.cos(angles), np.sin(angles)
    turns: NDArray[np.float64] = np.array([[cosine, -sine], [sine, cosine]])
    return np.moveaxis(turns, (0, 1), (-2, -1))


def _points(fractal: Fractal) -> NDArray[np.float32]:
    """Applies all compositions of the maps to a depth to one point.

    So Hutchinson 1981 (doi 10.1512/iumj.1981.30.30055) has it, in place of a random walk: a few
    thousand points in some dozen operations. Maps are composed to half the depth, and applied to
    the points of the other half.

    Returns:
        `[2, n ** depth]`: one n-th after the other of those that a map was applied to last.
    """
    count = len(fractal.turns)
    half, rest = _DEPTH[count] // 2, _DEPTH[count] - _DEPTH[count] // 2
    maps = np.zeros((count, 3, 3), np.float32)
    maps[:, :2, :2], maps[:, :2, 2], maps[:, 2, 2] = fractal.turns, fractal.shifts, 1
    composed = list(accumulate(repeat(maps, rest), _after))
    points = composed[half - 1][:, :, 2].T
    moved = composed[rest - 1][:, :2].reshape(-1, 3) @ points
    return moved.reshape(-1, 2, points.shape[1]).transpose(1, 0, 2).reshape(2, -1)


def _after(last: NDArray[Any], first: NDArray[Any]) -> NDArray[Any]:
    composed: NDArray[Any] = (last[:, None] @ first).reshape(-1, 3, 3)
    return composed


def _laid(
    random: np.random.Generator, points: NDArray[np.float32], size: int
) -> NDArray[np.float32]:
    """Scales points and moves them somewhere about the middle; few lie far from the others."""
    ends = _percentiles(points, 1, 99)
    side, *middle = (0.6, 0.35, 0.35) + (0.5, 0.3, 0.3) * random.random(3)
    scale = side / max(float((ends[:, 1] - ends[:, 0]).max()), 1e-6)
    moved = middle - ends.mean(axis=1) * scale
    laid: NDArray[np.float32] = points * np.float32(size * scale)
    laid += (size * moved[:, None]).astype(np.float32)
    return laid


def _percentiles(points: NDArray[np.float32], *shares: float) -> NDArray[np.float32]:
    # np.percentile takes ten times as long: it has no vector instructions.
    ordered = np.sort(points, axis=1)
    ranks = np.array(shares) / 100 * (points.shape[1] - 1)
    below = ranks.astype(np.intp)
    low, high = ordered[:, below], ordered[:, below + 1]
    found: NDArray[np.float32] = low + (high - low) * (ranks - below).astype(np.float32)
    return found


def _shares(places: NDArray[np.float32], count: int, size: int) -> NDArray[np.float32]:
    """Of the points in each pixel, the share that each map was applied to last.

    Returns:
        `[count, size + 2, size + 2]`, with a rim of zeros; zeros where there are no points.
    """
    down, across = np.clip(places, -1, size).astype(np.intp) + 1
    cells = (down * (size + 2) + across).reshape(count, -1)
    cells += np.arange(count)[:, None] * (size + 2) ** 2
    hits = np.bincount(cells.ravel(), minlength=count * (size + 2) ** 2).astype(np.float32)
    hits = hits.reshape(count, size + 2, size + 2)
    hits[:, :: size + 1] = hits[:, :, :: size + 1] = 0  # points outside
    shares: NDArray[np.float32] = hits / np.maximum(hits.sum(axis=0), 1)
    return shares


def _grown(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fills pixels between points with what is next to them, so that they become areas."""
    near = cv2.boxFilter(shares.reshape(-1, shares.shape[2]), -1, (3, 3), normalize=False)
    near = near.reshape(shares.shape)
    count = near.sum(axis=0)
    found: NDArray[np.float32] = np.where(shares.any(axis=0), shares, near / np.maximum(count, 1))
    return found * (count > 0.5)
