"""Whole generated images, each made again from its number alone."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from app.data.generated.colors import Pixels, palette, whole
from app.data.generated.fractals import draw_fractal, paint_fractal
from app.data.generated.shapes import outline, paint_contours, paint_leaves
from app.data.generated.textures import texture

KINDS = ("fractal", "contours", "leaves", "texture")
# Leaves look most like photographs, whose parts hide one another.
_SHARES = (0.25, 0.2, 0.4, 0.15)
_UP_TO = list(accumulate(_SHARES))
# The streams of images without a class; 0 and 1 are those of classes and of their images.
_WITHOUT_CLASS = 1 << 62


def generate(
    numbers: Iterable[int], size: int, seed: int = 0, kind: str | None = None
) -> NDArray[np.uint8]:
    """Makes images by their numbers.

    Args:
        numbers: From 0 on; the same number, seed and size give the same image each time.
        size: Side of the images in pixels.
        seed: Another one gives other images.
        kind: One of `KINDS`; each image draws its own if None.

    Returns:
        uint8 `[n, size, size, 3]`, RGB.
    """
    stream = _streams(seed, _WITHOUT_CLASS)
    made = [_image(stream(number), size, kind) for number in numbers]
    return np.stack(made) if made else np.empty((0, size, size, 3), np.uint8)


def generate_of_classes(
    numbers: Iterable[int], class_count: int, size: int, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Makes images of shapes that can be told apart, on whatever lies behind them.

    A class is a fractal or an outline. How it lies, its colours and what is behind it differ
    from image to image.

    Args:
        numbers: From 0 on; see `generate`.
        class_count: How many classes.
        size: Side of the images in pixels.
        seed: Another one gives other images of other classes.

    Returns:
        uint8 `[n, size, size, 3]`, RGB, and the classes, int64 `[n]`.
    """
    wanted = list(numbers)
    classes = np.array([number % class_count for number in wanted], np.int64)
    of_class, of_image = _streams(seed, 0), _streams(seed, 1)
    made = [
        _shown(of_class(class_number), of_image(number), size, class_number % 2)
        for number, class_number in zip(wanted, classes.tolist(), strict=True)
    ]
    return np.stack(made) if made else np.empty((0, size, size, 3), np.uint8), classes


def _streams(seed: int, kind: int) -> Callable[[int], np.random.Generator]:
    """Returns what gives the random numbers of an image, to be used up before those of the next."""
    bits = np.random.Philox(key=[seed, kind])
    state = bits.state

    def stream(number: int) -> np.random.Generator:
        # To make another one would be slow: it asks for entropy though it has a key.
        state["state"]["counter"][3] = number
        bits.state = state
        return np.random.Generator(bits)

    return stream


def _image(random: np.random.Generator, size: int, kind: str | None) -> Pixels:
    chosen = kind or KINDS[bisect(_UP_TO, random.random())]
    if chosen == "texture":
        return texture(random, size)
    if chosen == "leaves":
        behind = _behind(random, size)
        return paint_leaves(random, behind, _moved(behind, size // 3))
    return _shown(random, random, size, KINDS.index(chosen))


def _shown(
    of_class: np.random.Generator, random: np.random.Generator, size: int, kind: int
) -> Pixels:
    if KINDS[kind] == "fractal":
        return paint_fractal(random, draw_fractal(of_class), _behind(random, size))
    return paint_contours(random, outline(of_class), _behind(random, size))


def _behind(random: np.random.Generator, size: int) -> Pixels:
    if random.random() < 0.5:
        return texture(random, size)
    return whole(palette(random, 1)).repeat(size * size, axis=0).reshape(size, size, 3)


def _moved(image: Pixels, by: int) -> Pixels:
    """Turns an image upside down and moves it to the right; what leaves it comes back left."""
    upside_down = image[::-1]
    return np.concatenate([upside_down[:, -by:], upside_down[:, :-by]], axis=1)
