"""Textures: noise with the spectrum of photographs, and waves."""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from app.data.generated.colors import Pixels, mixed, palette

# How three colours differ, and their mean: two planes of noise suffice for the variance of three.
_CONTRASTS = np.array([[1, -1, 0], [1, 1, -2], [1, 1, 1]]) / np.sqrt([[2], [6], [9]])


def texture(random: np.random.Generator, size: int) -> Pixels:
    """Draws a texture that fills an image: coloured noise, or waves of one direction.

    The amplitudes of the noise fall with frequency by a power between 0.5 and 2; in
    photographs they do by about 1 (Field 1987, doi 10.1364/JOSAA.4.002379). Such noise
    teaches a network much of what it can learn without photographs (Baradad et al. 2021,
    "Learning to See by Looking at Noise", arXiv 2106.05963).

    Returns:
        RGB, `[size, size, 3]`.
    """
    return _waves(random, size) if random.random() < 0.3 else _noise(random, size)


def _noise(random: np.random.Generator, size: int) -> Pixels:
    power, stretch, angle = (random.random(3) * (1.5, 1.5, np.pi)).tolist()
    spectrum = _drawn(random, size) * _squared_radius(size, stretch, angle) ** (-(power + 0.5) / 2)
    spectrum[0, 0] = 0
    # Of independent numbers the transform makes two independent planes, its parts.
    planes = cv2.dft(spectrum.view(np.float32).reshape(size, size, 2), flags=cv2.DFT_INVERSE)
    colors, (_, deviations) = _CONTRASTS @ palette(random, 3), cv2.meanStdDev(planes)
    sides = colors[:2] / (deviations + 1e-9)
    return mixed(planes, sides.astype(np.float32), colors[2])


def _drawn(random: np.random.Generator, size: int) -> NDArray[np.complex64]:
    """Draws a spectrum of noise; its numbers are odd, so that they are about 0."""
    # Normal numbers are drawn far more slowly than bytes, and sums of thousands are seen.
    raw = random.bit_generator.random_raw((size * size + 3) // 4).view(np.int8)
    numbers = (raw[: 2 * size * size] | np.int8(1)).astype(np.float32)
    return numbers.view(np.complex64).reshape(size, size)


def _squared_radius(size: int, stretch: float, angle: float) -> NDArray[np.float32]:
    """Squared distances of frequencies from 0; stretched noise has a direction, as grass has."""
    cosine, sine, more = math.cos(angle), math.sin(angle), math.exp(stretch) - 1
    parts = 1 + more * cosine**2, 1 + more * sine**2, 2 * more * cosine * sine
    radii: NDArray[np.float32] = np.array(parts, np.float32) @ _squared_frequencies(size)
    return radii.reshape(size, size)


@cache
def _squared_frequencies(size: int) -> NDArray[np.float32]:
    each = np.fft.fftfreq(size, 1 / size)
    down, across = np.meshgrid(each, each, indexing="ij")
    down[0, 0] = 1  # no power of 0
    squares = np.stack([down**2, across**2, down * across])
    return squares.reshape(3, -1).astype(np.float32)


def _waves(random: np.random.Generator, size: int) -> Pixels:
    count = int(random.integers(1, 4))
    angles, phases = np.pi * random.random((count, 1)), 2 * np.pi * random.random((count, 1))
    cycles = (size / 4) ** random.random((count, 1))
    turns = np.arange(size) * (2 * np.pi / size) * cycles
    down = (turns * np.cos(angles) + phases).astype(np.float32)
    across = (turns * np.sin(angles)).astype(np.float32)
    share = np.sin(down[:, :, None] + across[:, None]).mean(axis=0) / 2 + 0.5
    if random.random() < 0.5:  # with edges, as tiles and stripes have
        share = (share > random.uniform(0.3, 0.7)).astype(np.float32)
    low, high = palette(random, 2)
    # A plane a colour: of matrices with a single column products are slow.
    return mixed(cv2.cvtColor(share, cv2.COLOR_GRAY2BGR), np.diag(high - low), low)
