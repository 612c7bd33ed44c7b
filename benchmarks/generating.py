"""Photographs that no one took: coloured shapes before a blurred background, as JPEG files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
WIDTH, HEIGHT = 500, 375


def generate(
    folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Path:
    """Writes `<folder>/<shape>/<number>.jpg`, as many of each shape as of any other.

    Args:
        folder: Made if it is not there.
        count: Of all shapes together; the last few that cannot be shared out are left out.
        seed: The same seed gives the same files.
        size: Width and height in pixels.
    """
    random = np.random.default_rng(seed)
    for name, draw in SHAPES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count // len(SHAPES)):
            pixels = _photograph(draw, random, *size)
            cv2.imwrite(
                str(folder / name / f"{number}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90]
            )
    return folder


def _photograph(draw: Callable[..., None], random: np.random.Generator, *size: int) -> Pixels:
    coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    pixels = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    reach = int(min(size) * random.uniform(0.15, 0.35))
    centre = [int(random.uniform(0.35, 0.65) * side) for side in size]
    draw(pixels, centre, reach, [int(part) for part in random.integers(0, 256, 3)])
    grain = random.normal(0, 6, pixels.shape)  # without which files are too small for their size
    return (pixels + grain).clip(0, 255).astype(np.uint8)


def _disc(pixels: Pixels, centre: list[int], reach: int, colour: list[int]) -> None:
    cv2.circle(pixels, centre, reach, colour, -1)


def _ring(pixels: Pixels, centre: list[int], reach: int, colour: list[int]) -> None:
    cv2.circle(pixels, centre, reach, colour, max(reach // 4, 1))


def _square(pixels: Pixels, centre: list[int], reach: int, colour: list[int]) -> None:
    low, high = ([each + sign * reach for each in centre] for sign in (-1, 1))
    cv2.rectangle(pixels, low, high, colour, -1)


def _triangle(pixels: Pixels, centre: list[int], reach: int, colour: list[int]) -> None:
    x, y = centre
    corners = np.array([[x, y - reach], [x - reach, y + reach], [x + reach, y + reach]])
    cv2.fillPoly(pixels, [corners], colour)


def _cross(pixels: Pixels, centre: list[int], reach: int, colour: list[int]) -> None:
    x, y = centre
    width = max(reach // 3, 1)
    cv2.line(pixels, [x - reach, y], [x + reach, y], colour, width)
    cv2.line(pixels, [x, y - reach], [x, y + reach], colour, width)


SHAPES: dict[str, Callable[..., None]] = {
    "cross": _cross,
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
}
