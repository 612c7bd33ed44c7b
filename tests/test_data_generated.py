"""Generated images: made again from their numbers, all different, classes that can be told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.data.generated import (
    KINDS,
    colors,
    fractals,
    generate,
    generate_of_classes,
    images,
    shapes,
    textures,
)
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


def test_each_image_has_a_random_stream_of_its_own_whatever_was_drawn_before() -> None:
    stream = images._streams(7, 3)
    stream(1).integers(0, 5, 3, np.uint32)  # leaves half a number behind
    again = np.random.Generator(np.random.Philox(key=[7, 3], counter=[0, 0, 0, 9]))
    np.testing.assert_array_equal(stream(9).random(5, np.float32), again.random(5, np.float32))


@pytest.mark.parametrize("number", range(20))
def test_the_maps_of_a_fractal_contract(number: int) -> None:
    fractal = draw_fractal(np.random.default_rng(number))
    assert np.linalg.svd(fractal.turns, compute_uv=False).max() < 1


@pytest.mark.parametrize("count", fractals._DEPTH)
def test_the_points_of_a_fractal_are_those_of_all_compositions(count: int) -> None:
    random = np.random.default_rng(count)
    turns, shifts = random.uniform(-0.6, 0.6, (count, 2, 2)), random.uniform(-1, 1, (count, 2))
    points = np.zeros((1, 2))
    for _ in range(fractals._DEPTH[count]):
        points = np.concatenate(
            [points @ turn.T + shift for turn, shift in zip(turns, shifts, strict=True)]
        )
    made = fractals._points(Fractal(turns.astype(np.float32), shifts.astype(np.float32)))
    np.testing.assert_allclose(made, points.T, atol=1e-5)


def test_percentiles_are_those_of_numpy() -> None:
    points = np.random.default_rng(0).normal(size=(2, 731)).astype(np.float32)
    expected = np.percentile(points, (1, 50, 99), axis=1).T
    np.testing.assert_allclose(fractals._percentiles(points, 1, 50, 99), expected, rtol=1e-6)


def test_pixels_have_the_shares_of_the_points_in_them_and_none_of_those_outside() -> None:
    down = [0.5, 0.9, 1.0, 0.5, 2.9, -0.1]
    across = [0.5, 0.1, 2.0, 0.5, 3.0, 1.0]  # three points of each of two maps
    shares = fractals._shares(np.array([down, across], np.float32), 2, 3)
    expected = np.zeros((2, 3, 3))
    expected[:, 0, 0] = 2 / 3, 1 / 3
    expected[0, 1, 2] = 1
    np.testing.assert_allclose(shares, expected)


def test_pixels_next_to_points_get_the_mean_of_their_shares() -> None:
    shares = np.zeros((2, 6, 6), np.float32)
    shares[0, 2, 2] = shares[1, 2, 3] = 1
    grown = fractals._grown(shares)
    np.testing.assert_allclose(grown[:, 2, 2:4], [[1, 0], [0, 1]])
    np.testing.assert_allclose(grown[:, 1, 1:5], [[1, 0.5, 0.5, 0], [0, 0.5, 0.5, 1]])
    np.testing.assert_array_equal(grown[:, 4:], 0)


@pytest.mark.parametrize("number", range(20))
def test_an_outline_lies_within_a_circle_of_1(number: int) -> None:
    outline = shapes.outline(np.random.default_rng(number))
    assert 0.29 < np.hypot(*outline.T).max() <= 1 + 1e-6


def test_numbers_of_an_image_become_their_colours_and_0_nothing() -> None:
    numbers = np.array([[0, 1], [2, 1]], np.uint8)
    painted = shapes._looked_up(
        numbers, np.float32([[9.6, 20, 30], [7, 8, 9]]), np.full((2, 2, 3), 5, np.uint8)
    )
    assert painted.tolist() == [[[5, 5, 5], [10, 20, 30]], [[7, 8, 9], [10, 20, 30]]]


def test_mixed_colours_end_at_black_and_white() -> None:
    planes = np.float32([[[1, 0], [0, 2], [-1, -9]]])
    sides, origin = np.float32([[10, 0, 0], [0, 100, 50]]), np.float32([1, 100, 0.6])
    assert colors.mixed(planes, sides, origin).tolist() == [
        [[11, 100, 1], [1, 255, 101], [0, 0, 0]]
    ]


def test_two_planes_of_noise_have_the_variance_that_three_would_have() -> None:
    drawn = np.random.default_rng(0).normal(size=(3, 3))
    around, (*sides, mean) = drawn - drawn.mean(axis=0), textures._CONTRASTS @ drawn
    np.testing.assert_allclose(np.transpose(sides) @ sides, around.T @ around, atol=1e-12)
    np.testing.assert_allclose(mean, drawn.mean(axis=0))


@pytest.mark.parametrize("size", [31, 64])
def test_the_spectrum_of_noise_is_about_0_and_each_frequency_has_its_radius(size: int) -> None:
    drawn = textures._drawn(np.random.default_rng(0), size).view(np.float32)
    assert set(np.unique(drawn)) <= set(range(-127, 128, 2))
    square = textures._squared_radius(size, 0.7, 0.4)
    across, down = np.meshgrid(*[np.fft.fftfreq(size, 1 / size)] * 2)
    along = down * np.cos(0.4) + across * np.sin(0.4)
    expected = down**2 + across**2 + (np.exp(0.7) - 1) * along**2
    np.testing.assert_allclose(square.ravel()[1:], expected.ravel()[1:], rtol=1e-4)


def test_noise_has_the_spectrum_that_was_drawn() -> None:
    """Amplitudes fall with frequency: the upper half of all frequencies holds little."""
    shares = []
    for number in range(20):
        plane = texture(np.random.default_rng(number), 64).mean(axis=2)
        power = np.abs(np.fft.rfft2(plane - plane.mean())) ** 2
        radius = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.rfftfreq(64), indexing="ij"))
        shares.append(power[radius > 0.25].sum() / power.sum())
    assert np.median(shares) < 0.25
