"""Fractals: what the maps of an iterated function system make of one another."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.data.generated.colors import Colors, palette

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
    greater = random.uniform(0.3, 1, count)
    smaller = greater * random.uniform(0.2, 1, count)
    wanted = random.uniform(5 + count, 6 + count) / 2
    share = min(wanted / (greater + 2 * smaller).sum(), 0.95 / greater.max())
    sizes = np.stack([greater, smaller], axis=1) * share
    first, second = _turns(random, count), _turns(random, count)
    mirrored = random.choice((-1.0, 1.0), (count, 2))
    turns = first @ (sizes[:, :, None] * second) * mirrored[:, None]
    shifts = random.uniform(-1, 1, (count, 2))
    return Fractal(turns.astype(np.float32), shifts.astype(np.float32))


def paint_fractal(random: np.random.Generator, fractal: Fractal, onto: Colors) -> Colors:
    """Paints a fractal over an image, turned, mirrored and coloured by chance.

    All compositions of the maps to a depth are applied to one point (Hutchinson 1981,
    doi 10.1512/iumj.1981.30.30055), in place of a random walk: a few thousand points in some
    dozen operations.

    Args:
        random: Draws how it lies and its colours.
        fractal: What is painted.
        onto: RGB of 0 to 255, `[size, size, 3]`; stays as it is.

    Returns:
        The same shape.
    """
    size, count = len(onto), len(fractal.turns)
    points, first = np.zeros((1, 2), np.float32), np.zeros(1, np.intp)
    for _ in range(_DEPTH[count]):
        moved = points @ fractal.turns.transpose(0, 2, 1) + fractal.shifts[:, None]
        points = moved.reshape(-1, 2)
    first = np.arange(len(points)) // (len(points) // count)  # the last map that was applied
    points = points @ _turns(random, 1)[0].astype(np.float32)
    low, high = np.percentile(points, (1, 99), axis=0)
    side = random.uniform(0.6, 1.1) * size
    middle = size * (0.5 + random.uniform(-0.15, 0.15, 2))
    scaled = (points - (low + high) / 2) / max(float((high - low).max()), 1e-6) * side + middle
    cells = np.clip(scaled, -1, size).astype(np.intp)
    inside = ((cells >= 0) & (cells < size)).all(axis=1)
    places = cells[inside, 0] * size + cells[inside, 1]
    hits = np.bincount(places, minlength=size * size).astype(np.float32)
    colors = palette(random, count)
    painted = np.empty((size * size, 3), np.float32)
    for channel in range(3):
        weights = colors[first[inside], channel]
        painted[:, channel] = np.bincount(places, weights, size * size)
    painted /= np.maximum(hits, 1)[:, None]
    found = onto.copy()
    there = (hits > 0).reshape(size, size)
    found[there] = painted.reshape(size, size, 3)[there]
    if random.random() < 0.5:  # points that are near become areas
        grown = cv2.dilate(there.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        blurred = cv2.blur(painted.reshape(size, size, 3) * there[..., None], (3, 3))
        weight = cv2.blur(there.astype(np.float32), (3, 3))
        rim = grown & ~there & (weight > 0)
        found[rim] = blurred[rim] / weight[rim, None]
    return found


def _turns(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    angles = random.uniform(0, 2 * np.pi, count)
    cosine, sine = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1)
