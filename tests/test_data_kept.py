"""Images are kept as they were read, while they fit, for any number of threads."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.data.index import Image, build_index
from app.data.kept import KeptImages
from app.data.looking import Seen
from app.data.sources import list_images
from app.data.views import view_batches
from tests.making import make_folder

SIZE = 6
BYTES = SIZE * SIZE * 3


def images(count: int) -> list[Image]:
    return [
        Image(Path(f"{number}.png"), ("a",), "train", f"{number + 1:016x}" + "0" * 48, 9, 9)
        for number in range(count)
    ]


def keys(count: int) -> NDArray[np.int64]:
    return np.array([image.key for image in images(count)], np.int64)


def pixels(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def fill(kept: KeptImages, count: int) -> None:
    missing = kept.missing(keys(count))
    kept.complete(keys(count), missing, pixels(count)[missing])


def test_images_that_fit_are_missing_once() -> None:
    kept = KeptImages(images(9), SIZE, 9 * BYTES)
    assert kept.missing(keys(9)).tolist() == list(range(9))
    first = kept.complete(keys(9)[4:7], np.arange(3), pixels(9)[4:7])
    assert np.array_equal(first, pixels(9)[4:7])
    assert kept.missing(keys(9)).tolist() == [0, 1, 2, 3, 7, 8]
    fill(kept, 9)
    assert kept.missing(keys(9)).dtype == np.int64
    assert len(kept.missing(keys(9))) == 0
    found = kept.complete(keys(9)[::-1], np.array([], np.int64), pixels(0))
    assert np.array_equal(found, pixels(9)[::-1])


def test_kept_image_is_not_copied_and_cannot_be_changed() -> None:
    kept = KeptImages(images(2), SIZE)
    fill(kept, 2)
    one, also = (kept.complete(keys(2)[1:], np.array([], np.int64), pixels(0))[0] for _ in "ab")
    assert np.shares_memory(one, also)
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 0


def test_same_bytes_in_two_files_take_one_place() -> None:
    kept = KeptImages([*images(2), *images(2)], SIZE, 2 * BYTES)
    both = np.concatenate([keys(2), keys(2)])
    kept.complete(both, kept.missing(both), np.concatenate([pixels(2), pixels(2)]))
    assert len(kept.missing(both)) == 0


@pytest.mark.parametrize("limit", [0, 3 * BYTES, 4 * BYTES - 1])
def test_images_beyond_the_limit_are_read_again_and_that_is_said_once(
    limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="graft"):
        kept = KeptImages(images(9), SIZE, limit)
        assert not caplog.messages  # it may be that nobody reads them
        for _ in range(2):
            fill(kept, 9)
    fitting = limit // BYTES
    assert kept.missing(keys(9)).tolist() == list(range(fitting, 9))
    found = kept.complete(keys(9), np.arange(fitting, 9), pixels(9)[fitting:])
    assert np.array_equal(found, pixels(9))
    (said,) = caplog.messages
    assert said.startswith(f"{9 - fitting} of 9 images")


def test_nothing_is_said_if_all_fit(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="graft"):
        for _ in range(2):
            fill(KeptImages(images(9), SIZE, 9 * BYTES), 9)
    assert not caplog.messages


def test_image_that_was_not_announced_is_read_each_time() -> None:
    kept = KeptImages(images(1), SIZE)
    for _ in range(2):
        assert kept.missing(keys(2)[1:]).tolist() == [0]
        (found,) = kept.complete(keys(2)[1:], np.array([0]), pixels(2)[1:])
        assert np.array_equal(found, pixels(2)[1])


def test_threads_may_read_and_keep_at_once() -> None:
    kept = KeptImages(images(64), SIZE, 50 * BYTES)

    def batch(seed: int) -> bool:
        chosen = np.random.default_rng(seed).permutation(64)[:16]
        missing = kept.missing(keys(64)[chosen])
        found = kept.complete(keys(64)[chosen], missing, pixels(64)[chosen][missing])
        return np.array_equal(found, pixels(64)[chosen])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(batch, range(200)))
    assert kept.missing(keys(64)).tolist() == list(range(50, 64))


def test_what_was_looked_at_is_kept_as_it_is_read(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, {"a": 3, "b": 3}, "jpg")
    seen = Seen(SIZE)
    index = build_index(list_images(str(folder)), 0.2, 0.2, 0, seen)
    (read,) = view_batches(index.images, 0, None, SIZE, 6)
    kept = KeptImages(index.images, SIZE, seen=seen)
    for image in index.images:
        image.path.unlink()  # whoever reads one now fails
    (found,) = view_batches(index.images, 0, None, SIZE, 6, kept)
    np.testing.assert_array_equal(found, read)
