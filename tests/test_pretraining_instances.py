"""What is told apart: files that are kept in memory, and regions of photographs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from app.data import kept
from app.data.generated import generate
from app.data.index import look
from app.data.sources import list_unlabelled
from app.pretraining.instances import LEAST_REGION, Files, Regions


@pytest.mark.parametrize("memory", [kept.KEPT_BYTES, 2 * 32 * 32 * 3])
def test_files_are_read_whether_they_fit_in_memory_or_not(
    memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "KEPT_BYTES", memory)
    pixels = generate(range(6), 32)
    for number, image in enumerate(pixels):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image[..., ::-1])
    images, _ = look(list_unlabelled(str(tmp_path)).files)
    found = Files(images, 32)
    assert found.count == 6
    for numbers in ([4, 1, 4], [0, 1, 2, 3, 4, 5]):
        np.testing.assert_array_equal(
            np.stack(found.images(np.array(numbers, np.int64))), pixels[numbers]
        )


def test_regions_are_squares_of_all_sizes_within_the_photographs() -> None:
    photographs = [np.zeros((300, 200, 3), np.uint8), np.ones((100, 400, 3), np.uint8)]
    found = Regions(photographs, seed=0).images(np.arange(300))
    sides = [region.shape[0] for region in found]
    assert all(region.shape == (side, side, 3) for region, side in zip(found, sides, strict=True))
    assert LEAST_REGION <= min(sides) < 80
    assert 180 < max(sides) <= 200
    of_second = np.mean([region.max() for region in found])
    assert of_second == pytest.approx(200 / (200 + 300**0.5 * 200**0.5), abs=0.08)


def test_a_region_follows_from_seed_and_number() -> None:
    photograph = np.random.default_rng(0).integers(0, 256, (200, 300, 3), "uint8")
    one, other = (Regions([photograph], seed=0).images(np.array([7, 8])) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    assert one[0].tobytes() != one[1].tobytes()
    (elsewhere,) = Regions([photograph], seed=1).images(np.array([7]))
    assert elsewhere.tobytes() != one[0].tobytes()


def test_photographs_that_are_smaller_than_a_region_are_taken_whole() -> None:
    (region,) = Regions([np.zeros((40, 50, 3), np.uint8)], seed=0).images(np.array([0]))
    assert region.shape == (40, 40, 3)
