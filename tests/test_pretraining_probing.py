"""How well features tell classes apart: the probe, on features that do and that do not."""

from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from app.errors import DataError
from app.pretraining.probing import Probe, read_probe

RANDOM = np.random.default_rng(0)
CLASSES = np.arange(60) % 3


@pytest.fixture(scope="module")
def features() -> keras.Model:
    """The mean of each channel."""
    pixels = keras.Input((8, 8, 3))
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(pixels))


def coloured(which: np.ndarray) -> np.ndarray:
    """Images of noise in which one channel is brighter."""
    pixels = RANDOM.integers(0, 100, (len(which), 8, 8, 3)).astype(np.uint8)
    pixels[np.arange(len(which)), :, :, which] += 100
    return pixels


def test_classes_that_the_features_hold_are_all_named(features: keras.Model) -> None:
    assert Probe(coloured(CLASSES), np.eye(3)[CLASSES]).accuracy(features) == 1.0


def test_classes_that_have_nothing_to_do_with_the_features_are_guessed(
    features: keras.Model,
) -> None:
    drawn = RANDOM.permutation(CLASSES)
    found = Probe(coloured(drawn), np.eye(3)[CLASSES]).accuracy(features)
    assert 0.1 < found < 0.6


def test_a_folder_is_read_at_the_size_with_its_classes(tmp_path: Path) -> None:
    for name, level in (("dark", 10), ("light", 200)):
        (tmp_path / name).mkdir()
        for number in range(3):
            image = np.full((20, 20, 3), level + number, np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), image)
    probe = read_probe(str(tmp_path), 16)
    assert probe.pixels.shape == (6, 16, 16, 3)
    np.testing.assert_array_equal(probe.targets[:, 1], probe.pixels.mean(axis=(1, 2, 3)) > 100)


def test_a_folder_without_classes_is_no_probe(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(DataError, match="has no images in class folders"):
        read_probe(str(tmp_path), 16)
