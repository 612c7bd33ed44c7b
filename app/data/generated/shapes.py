"""Outlines: round shapes with harmonics, drawn as contours or as dead leaves."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from app.data.generated.colors import Colors, palette

_SHIFT = 4  # fractional bits of the coordinates that OpenCV is given
_CORNERS = 48


def outline(random: np.random.Generator) -> NDArray[np.float32]:
    """Draws a closed outline about 0 of radius 1 at the most, `[corners, 2]`.

    A circle, a polygon, or a sum of harmonics, stretched and turned.
    """
    kind = random.random()
    corners = int(random.integers(3, 8)) if kind < 0.3 else _CORNERS
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = np.ones(corners)
    if kind >= 0.5:
        orders = np.arange(2, 9)
        strength = random.normal(size=7) * random.uniform(0.1, 0.5) / orders**0.5
        radius += strength @ np.cos(np.outer(orders, angle) + random.uniform(0, 6.3, (7, 1)))
        radius = np.abs(radius) / np.abs(radius).max()
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    points[:, 0] *= random.uniform(0.3, 1)
    turn = random.uniform(0, 2 * np.pi)
    cosine, sine = np.cos(turn), np.sin(turn)
    found: NDArray[np.float32] = (points @ [[cosine, -sine], [sine, cosine]]).astype(np.float32)
    return found


def paint_contours(random: np.random.Generator, shape: NDArray[np.float32], onto: Colors) -> Colors:
    """Draws an outline many times over, each smaller and more irregular than the last.

    Contours teach as much as whole shapes do (Kataoka et al. 2022, "Replacing Labeled
    Real-image Datasets with Auto-generated Contours", arXiv 2206.09132).

    Args:
        random: Draws where, how many and in which colours.
        shape: From `outline`.
        onto: RGB of 0 to 255, `[size, size, 3]`; stays as it is.

    Returns:
        The same shape.
    """
    size, painted = len(onto), onto.copy()
    count = int(random.integers(3, 30))
    colors, rough = palette(random, count), random.uniform(0, 0.12)
    radius = size * random.uniform(0.3, 0.6)
    middle = size * (0.5 + random.uniform(-0.15, 0.15, 2))
    noise = random.normal(size=(count, *shape.shape)).cumsum(axis=0)
    thickness = int(random.integers(1, max(size // 32, 2) + 1))
    single = random.random() < 0.5
    for number in range(count):
        share = radius * (1 - number / count)
        points = shape * share + noise[number] * rough * share / count**0.5 + middle
        color = colors[0 if single else number].tolist()
        cv2.polylines(painted, [_fixed(points)], True, color, thickness, cv2.LINE_AA, _SHIFT)
    return painted


def paint_leaves(random: np.random.Generator, onto: Colors, texture: Colors) -> Colors:
    """Drops shapes on an image, one over the other, large and small, plain and textured.

    Their radii have the density of 1 / r**3, which makes the statistics of the image the same
    at all scales, as in photographs (Lee, Mumford and Huang 2001, "Occlusion Models for Natural
    Images", doi 10.1023/A:1011109015675).

    Args:
        random: Draws them.
        onto: RGB of 0 to 255, `[size, size, 3]`; stays as it is.
        texture: Of the same size; some of the leaves are cut from it.

    Returns:
        The same shape.
    """
    size, painted = len(onto), onto.copy()
    count = int(random.integers(10, 50))
    least, most = 0.04, 0.6  # of the side
    drawn = random.random(count)
    radii = size / np.sqrt((1 - drawn) / least**2 + drawn / most**2)
    middles = random.uniform(0, size, (count, 1, 2))
    angles, colors = random.uniform(0, 2 * np.pi, count), palette(random, count).tolist()
    cosine, sine = np.cos(angles), np.sin(angles)
    turns = np.stack([cosine, -sine, sine, cosine], axis=1).reshape(count, 2, 2)
    shapes = [outline(random) for _ in range(int(random.integers(1, 4)))]
    scaled = turns * radii[:, None, None]
    corners = [
        _fixed(shape @ scaled[first :: len(shapes)] + middles[first :: len(shapes)])
        for first, shape in enumerate(shapes)
    ]
    cut = random.random(count) < 0.2
    for number in range(count):
        points = corners[number % len(shapes)][number // len(shapes)]
        if cut[number]:
            mask = np.zeros((size, size), np.uint8)
            cv2.fillPoly(mask, [points], 1, cv2.LINE_8, _SHIFT)
            cv2.copyTo(texture, mask, painted)
        else:
            cv2.fillPoly(painted, [points], colors[number], cv2.LINE_AA, _SHIFT)
    return painted


def _fixed(points: NDArray[np.floating]) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.round(points * (1 << _SHIFT)).astype(np.int32)
    return fixed
