"""Textures: noise with the spectrum of photographs, and waves."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from app.data.generated.colors import Pixels, mixed, palette


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
    power, stretch, angle = (0.5, 0, 0) + (1.5, 1.5, np.pi) * random.random(3)
    down, across = _frequencies(size)
    along = down * np.cos(angle) + across * np.sin(angle)
    # Stretched noise has a direction, as grass and wood have.
    radius = np.sqrt(down**2 + across**2 + (np.exp(stretch) - 1) * along**2)
    radius[0, 0] = np.inf
    drawn = random.standard_normal((3, *radius.shape, 2), np.float32).view(np.complex64)[..., 0]
    spectrum = drawn * radius ** np.float32(-power)
    planes = cv2.merge(list(fft.irfft2(spectrum, s=(size, size))))
    colors = palette(random, 3)
    mean, (_, deviations) = colors.mean(axis=0), cv2.meanStdDev(planes)
    return mixed(planes, (colors - mean) / (deviations + 1e-9), mean)


@cache
def _frequencies(size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    down = fft.fftfreq(size, 1 / size).astype(np.float32)
    across = fft.rfftfreq(size, 1 / size).astype(np.float32)
    return down[:, None], across[None]


def _waves(random: np.random.Generator, size: int) -> Pixels:
    count = int(random.integers(1, 4))
    angles, phases = np.pi * random.random(count), 2 * np.pi * random.random(count)
    cycles = (size / 4) ** random.random(count)
    down, across = (axis.astype(np.float32) / size for axis in np.ogrid[:size, :size])
    height = np.zeros((size, size), np.float32)
    for angle, phase, cycle in zip(angles, phases, cycles, strict=True):
        way = down * np.float32(np.cos(angle)) + across * np.float32(np.sin(angle))
        height += np.sin(np.float32(2 * np.pi * cycle) * way + np.float32(phase))
    share = (height / count + 1) / 2
    if random.random() < 0.5:  # with edges, as tiles and stripes have
        share = (share > random.uniform(0.3, 0.7)).astype(np.float32)
    low, high = palette(random, 2)
    return mixed(cv2.cvtColor(share, cv2.COLOR_GRAY2BGR), np.diag(high - low), low)
