"""Generated images: made again from their numbers, all different, classes that can be told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.data.generated import KINDS, generate, generate_of_classes, images
from app.data.generated.fractals import Fractal, draw_fractal
from app.data.generated.textures import texture

NUMBERS = st.integers(0, 2**62)


@settings(max_examples=30, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=4), st.integers(8, 80), st.integers(0, 2**31 - 1))
def test_an_image_is_made_again_from_its_number_alone(
    numbers: list[int], size: int, seed: int
) -> None:
    made = generate(numbers, size, seed)
    assert made.shape == (len(numbers), size, size, 3)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(generate(numbers[::-1], size, seed)[::-1], made)


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_images_are_the_same_and_none_is_empty(kind: str) -> None:
    made = generate(range(200), 32, kind=kind)
    assert len({image.tobytes() for image in made}) == 200
    assert np.median(made.astype(float).std(axis=(1, 2)).mean(axis=1)) > 10


def test_another_seed_makes_other_images() -> None:
    assert not np.array_equal(generate([3], 32, seed=0), generate([3], 32, seed=1))


def test_none_asked_for_is_none_made() -> None:
    assert generate([], 16).shape == (0, 16, 16, 3)
    pixels, classes = generate_of_classes([], 4, 16)
    assert (pixels.shape, classes.shape) == ((0, 16, 16, 3), (0,))


def test_a_class_is_one_shape_on_many_grounds() -> None:
    pixels, classes = generate_of_classes(range(64), 8, 32)
    np.testing.assert_array_equal(classes, np.arange(64) % 8)
    assert len({image.tobytes() for image in pixels}) == 64
    again, _ = generate_of_classes([5, 13], 8, 32)
    np.testing.assert_array_equal(again, pixels[[5, 13]])


def test_all_images_of_a_class_show_its_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []

    def noted(random: np.random.Generator) -> Fractal:
        drawn.append((fractal := draw_fractal(random)).turns.tobytes())
        return fractal

    monkeypatch.setattr(images, "draw_fractal", noted)
    generate_of_classes([0, 8, 16, 2, 10, 4], 8, 32)
    assert [drawn.index(each) for each in drawn] == [0, 0, 0, 3, 3, 5]


@pytest.mark.parametrize("number", range(20))
def test_the_maps_of_a_fractal_contract(number: int) -> None:
    fractal = draw_fractal(np.random.default_rng(number))
    assert np.linalg.svd(fractal.turns, compute_uv=False).max() < 1


def test_noise_has_the_spectrum_that_was_drawn() -> None:
    """Amplitudes fall with frequency: the upper half of all frequencies holds little."""
    shares = []
    for number in range(20):
        plane = texture(np.random.default_rng(number), 64).mean(axis=2)
        power = np.abs(np.fft.rfft2(plane - plane.mean())) ** 2
        radius = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.rfftfreq(64), indexing="ij"))
        shares.append(power[radius > 0.25].sum() / power.sum())
    assert np.median(shares) < 0.25
