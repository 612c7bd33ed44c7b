"""Outlines: round shapes with harmonics, drawn as contours or as dead leaves."""

from __future__ import annotations

from functools import cache
from itertools import cycle

import cv2
import numpy as np
from numpy.typing import NDArray

from app.data.generated.colors import Colors, Pixels, palette, whole
from app.data.generated.plane import turns

_SHIFT = 4  # fractional bits of the coordinates that OpenCV is given
_CORNERS = 48
_ORDERS = np.arange(2, 9)  # of harmonics
_ANGLES = np.outer(_ORDERS, np.arange(_CORNERS) * (2 * np.pi / _CORNERS)).astype(np.float32)


def outline(random: np.random.Generator) -> NDArray[np.float32]:
    """Draws a closed outline about 0 of radius 1 at the most, `[corners, 2]`.

    A circle, a polygon, or a sum of harmonics, stretched and turned.
    """
    kind = random.random()
    circle = _circle(int(random.integers(3, 8)) if kind < 0.3 else _CORNERS)
    if kind >= 0.5:
        circle = circle * _harmonics(random)
    stretch, turn = random.random(2)
    turned = turns(2 * np.pi * turn)
    turned[0] *= 0.3 + 0.7 * stretch
    found: NDArray[np.float32] = (circle.T @ turned).astype(np.float32)
    return found


@cache
def _circle(corners: int) -> NDArray[np.float32]:
    angles = np.arange(corners) * (2 * np.pi / corners)
    return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def _harmonics(random: np.random.Generator) -> NDArray[np.float32]:
    strength = random.standard_normal(7) * (0.1 + 0.4 * random.random()) / _ORDERS**0.5
    phases = (6.3 * random.random((7, 1))).astype(np.float32)
    radius = np.abs(1 + strength.astype(np.float32) @ np.cos(_ANGLES + phases))
    found: NDArray[np.float32] = radius / radius.max()
    return found


def paint_contours(random: np.random.Generator, shape: NDArray[np.float32], onto: Pixels) -> Pixels:
    """Draws an outline many times over, each smaller and more irregular than the last.

    Contours teach as much as whole shapes do (Kataoka et al. 2022, "Replacing Labeled
    Real-image Datasets with Auto-generated Contours", arXiv 2206.09132).

    Args:
        random: Draws where, how many and in which colours.
        shape: From `outline`.
        onto: RGB, `[size, size, 3]`; stays as it is.

    Returns:
        The same shape.
    """
    size = len(onto)
    count = int(random.integers(3, 30))
    colors, rough = palette(random, count), random.uniform(0, 0.12)
    radius = size * random.uniform(0.3, 0.6)
    middle = size * (0.35 + 0.3 * random.random(2))
    noise = random.standard_normal((count, *shape.shape)).cumsum(axis=0)
    thickness = int(random.integers(1, max(size // 32, 2) + 1))
    single = random.random() < 0.5
    sizes = radius * (1 - np.arange(count) / count)[:, None, None]
    curves = list(_fixed((shape + noise * (rough / count**0.5)) * sizes + middle))
    # Numbers are painted, and their colours looked up: one channel is faster than three.
    numbers = np.zeros((size, size), np.uint8)
    for number, curve in enumerate([curves] if single else zip(curves), 1):
        cv2.polylines(numbers, curve, True, number, thickness, cv2.LINE_8, _SHIFT)
    return _looked_up(numbers, colors, onto)


def paint_leaves(random: np.random.Generator, onto: Pixels, texture: Pixels) -> Pixels:
    """Drops shapes on an image, one over the other, large and small, plain and textured.

    Their radii have the density of 1 / r**3, which makes the statistics of the image the same
    at all scales, as in photographs (Lee, Mumford and Huang 2001, "Occlusion Models for Natural
    Images", doi 10.1023/A:1011109015675).

    Args:
        random: Draws them.
        onto: RGB, `[size, size, 3]`; stays as it is.
        texture: Of the same size; some of the leaves are cut from it.

    Returns:
        The same shape.
    """
    size = len(onto)
    count = int(random.integers(10, 50))
    least, most = 0.04, 0.6  # of the side
    drawn = random.random(count)
    radii = size / np.sqrt((1 - drawn) / least**2 + drawn / most**2)
    middles = (size * random.random((count, 1, 2))).astype(np.float32)
    angles, colors = 2 * np.pi * random.random(count), palette(random, count)
    lying = (radii[:, None, None] * turns(angles)).astype(np.float32)
    shapes = [outline(random) for _ in range(int(random.integers(1, 4)))]
    corners = [
        iter(_fixed(shape @ lying[first :: len(shapes)] + middles[first :: len(shapes)]))
        for first, shape in enumerate(shapes)
    ]
    cut = random.random(count) < 0.2
    numbers = np.zeros((size, size), np.uint8)
    for number, leaves in zip(range(1, count + 1), cycle(corners)):
        cv2.fillPoly(numbers, [next(leaves)], number, cv2.LINE_8, _SHIFT)
    of_texture = np.zeros(256, np.uint8)
    of_texture[1 : count + 1] = cut
    plain = _looked_up(numbers, colors, onto)
    painted: Pixels = cv2.copyTo(texture, cv2.LUT(numbers, of_texture), plain)
    return painted


def _looked_up(numbers: NDArray[np.uint8], colors: Colors, onto: Pixels) -> Pixels:
    """Gives pixels the colours of their numbers, from 1 on; where it is 0, it stays as it was."""
    table = np.zeros((256, 1, 3), np.uint8)
    table[1 : len(colors) + 1, 0] = whole(colors)
    found: Pixels = cv2.copyTo(cv2.applyColorMap(numbers, table), numbers, onto.copy())
    return found


def _fixed(points: NDArray[np.floating]) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.rint(points * (1 << _SHIFT)).astype(np.int32)
    return fixed
