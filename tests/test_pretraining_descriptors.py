"""Edges and colours of images, told without learning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.data.generated import generate
from app.pretraining.descriptors import (
    DIRECTIONS,
    OF_EDGES_AND_COLORS,
    Descriptors,
    _said,
    edges_and_colors,
    learn_descriptors,
    load_descriptors,
)


def stripes(angle: float, size: int = 32) -> np.ndarray:
    """Waves whose brightness changes along a direction."""
    down, across = np.mgrid[:size, :size]
    wave = np.sin(0.8 * (across * np.cos(angle) + down * np.sin(angle)))
    return np.repeat((127 + 100 * wave).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("step", range(DIRECTIONS))
def test_the_direction_of_edges_is_the_largest(step: int) -> None:
    found = edges_and_colors(stripes(np.pi * step / DIRECTIONS)[None])
    assert found[0, :DIRECTIONS].argmax() == step


def test_the_mean_colour_is_that_of_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 30, 30, 3), "uint8")
    found = edges_and_colors(image)[0, DIRECTIONS : DIRECTIONS + 3]
    np.testing.assert_allclose(found, image[0].mean(axis=(0, 1)) / 255, atol=1e-6)


def test_levels_are_counted_by_channel() -> None:
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[..., 1] = 255
    levels = edges_and_colors(image)[0, -24:].reshape(3, 8)
    np.testing.assert_allclose(levels.argmax(axis=1), [0, 7, 0])
    np.testing.assert_allclose(levels.sum(axis=1), 1)


@pytest.mark.parametrize("size", [8, 33, 64])
def test_each_image_is_described_by_itself(size: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, size, size, 3), "uint8")
    found = edges_and_colors(images)
    assert found.shape == (5, OF_EDGES_AND_COLORS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        np.concatenate([edges_and_colors(each[None]) for each in images]), found
    )


def test_an_image_of_one_colour_has_no_edges() -> None:
    assert not edges_and_colors(np.full((1, 16, 16, 3), 90, np.uint8))[0, :DIRECTIONS].any()


PICTURES = generate(range(300), 32)


@pytest.fixture(scope="module")
def learned() -> Descriptors:
    return learn_descriptors(PICTURES, seed=0)


def test_axes_are_independent_and_count_by_their_deviation(learned: Descriptors) -> None:
    found = learned(PICTURES)
    assert found.shape == (300, learned.width)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=2e-2)
    spread = np.cov(found.T, bias=True)
    variances = np.diag(spread)
    assert variances.mean() == pytest.approx(1, rel=1e-2)
    np.testing.assert_allclose(spread, np.diag(variances), atol=2e-2 * variances[0])
    said = _said(learned.dictionary, PICTURES)
    values = np.linalg.svd((said - said.mean(0)) / (said.std(0) + 0.01), compute_uv=False)
    ratio = variances / values[: learned.width]
    np.testing.assert_allclose(ratio / ratio[0], 1, rtol=2e-2)


def test_descriptors_are_read_back_as_they_were_written(
    learned: Descriptors, tmp_path: Path
) -> None:
    learned.save(tmp_path / "descriptors.npz")
    found = load_descriptors(tmp_path / "descriptors.npz")
    np.testing.assert_array_equal(found(PICTURES[:9]), learned(PICTURES[:9]))


def test_fewer_images_than_axes_give_fewer_axes() -> None:
    assert learn_descriptors(PICTURES[:40], seed=0).width == 39
