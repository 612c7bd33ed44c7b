"""Fractals: what the maps of an iterated function system make of one another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.data.generated.colors import Pixels, mixed, palette
from app.data.generated.plane import turns

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
    wanted = (5 + count + random.random()) / 2
    share = min(wanted / (greater + 2 * smaller).sum(), 0.95 / greater.max())
    first, second = turns(2 * np.pi * random.random((2, count)))
    mirrored = 2 * random.integers(0, 2, (count, 2)) - 1
    first[..., 0] *= (share * greater)[:, None]
    first[..., 1] *= (share * smaller)[:, None]
    second *= mirrored[:, None]
    shifts = 2 * random.random((count, 2)) - 1
    return Fractal((first @ second).astype(np.float32), shifts.astype(np.float32))


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
    turned = turns(2 * np.pi * random.random()).T.astype(np.float32)
    points = turned @ _points(fractal)
    shares = _shares(_laid(random, points, size), count, size)
    colors = palette(random, count)
    if random.random() < 0.5:
        shares = _grown(shares)
    there = shares.any(axis=0).view(np.uint8)
    painted: Pixels = cv2.copyTo(mixed(shares.transpose(1, 2, 0), colors), there, onto.copy())
    return painted


def _points(fractal: Fractal) -> NDArray[np.float32]:
    """Applies all compositions of the maps to a depth to one point.

    So Hutchinson 1981 (doi 10.1512/iumj.1981.30.30055) has it, in place of a random walk: a few
    thousand points in some dozen operations. Maps are composed to half the depth, and applied to
    the points of the other half.

    Returns:
        `[2, n ** depth]`: one n-th after the other of those that a map was applied to last.
    """
    count = len(fractal.turns)
    half = _DEPTH[count] // 2
    rest = _DEPTH[count] - half
    maps = np.zeros((count, 3, 3), np.float32)
    maps[:, :2, :2], maps[:, :2, 2], maps[:, 2, 2] = fractal.turns, fractal.shifts, 1
    composed = list(accumulate(repeat(maps, rest), _after))
    points = composed[half - 1][:, :, 2].T
    moved: NDArray[np.float32] = composed[rest - 1][:, :2].reshape(-1, 3) @ points
    return moved.reshape(-1, 2, points.shape[1]).transpose(1, 0, 2).reshape(2, -1)


def _after(last: NDArray[Any], first: NDArray[Any]) -> NDArray[Any]:
    composed: NDArray[Any] = (last[:, None] @ first).reshape(-1, 3, 3)
    return composed


def _laid(
    random: np.random.Generator, points: NDArray[np.float32], size: int
) -> NDArray[np.float32]:
    """Scales points and moves them somewhere about the middle; few lie far from the others."""
    (left, right), (top, bottom) = _percentiles(points, 1, 99).tolist()
    share, *middle = random.random(3).tolist()
    scale = size * (0.6 + 0.5 * share) / max(right - left, bottom - top, 1e-6)
    laid: NDArray[np.float32] = points * np.float32(scale)
    laid[0] += size * (0.35 + 0.3 * middle[0]) - (left + right) / 2 * scale
    laid[1] += size * (0.35 + 0.3 * middle[1]) - (top + bottom) / 2 * scale
    return laid


def _percentiles(points: NDArray[np.float32], *percents: float) -> NDArray[np.float64]:
    # np.percentile is far slower than a sort, which has vector instructions.
    ordered = np.sort(points, axis=1)
    ranks = np.array(percents) / 100 * (points.shape[1] - 1)
    below = ranks.astype(np.intp)
    low, high = ordered[:, below], ordered[:, below + 1]
    found: NDArray[np.float64] = low + ranks % 1 * (high - low)
    return found


def _shares(points: NDArray[np.float32], count: int, size: int) -> NDArray[np.float32]:
    """Of the points in each pixel, the share that each map was applied to last.

    Returns:
        `[count, size, size]`; zeros where there are no points.
    """
    last = np.repeat(np.arange(count, dtype=np.float32), points.shape[1] // count)
    pixels = [count, size, size]
    hits = cv2.calcHist(
        [last, *points], [0, 1, 2], None, pixels, [edge for each in pixels for edge in (0, each)]
    )
    shares: NDArray[np.float32] = hits / np.maximum(hits.sum(axis=0), 1)
    return shares


def _grown(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fills pixels between points with what is next to them, so that they become areas."""
    near = np.stack([cv2.boxFilter(share, -1, (3, 3), normalize=False) for share in shares])
    count = near.sum(axis=0)
    near *= (count > 0.5) / np.maximum(count, 1)
    return np.where(shares.any(axis=0), shares, near)
