"""Many files read at once, good and bad ones, each as if it were read alone."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.data.guarded import AT_ONCE, DAMAGED, read_images
from app.data.headers import TOO_LARGE, TOO_LONG
from app.data.reading import read_image
from app.errors import decoding_reason
from tests.test_data_reading import EXACT, giant, tagged

SIZE = 24
GOOD = [EXACT[kind]() for kind in EXACT] + [tagged(kind, 6) for kind in ("jpeg", "png", "webp")]
TRACED = tf.function(
    lambda contents: read_images(contents, SIZE), input_signature=[tf.TensorSpec([None], tf.string)]
)


def read_alone(contents: bytes) -> tuple[np.ndarray | None, str]:
    try:
        return read_image(tf.constant(contents), SIZE).numpy(), ""
    except tf.errors.InvalidArgumentError as error:
        return None, decoding_reason(str(error.message))


def assert_read_as_alone(batch: list[bytes]) -> None:
    pixels, errors = TRACED(tf.constant(batch, tf.string))
    for contents, found, error in zip(batch, pixels.numpy(), errors.numpy(), strict=True):
        alone, reason = read_alone(contents)
        if alone is None:
            said = error.decode().rstrip(".")
            assert said in (reason, DAMAGED.rstrip("."))
            assert said
            assert not found.any()
        else:
            assert not error
            np.testing.assert_array_equal(found, alone)


def test_every_format_is_read_as_alone_however_many_come() -> None:
    for count in (1, 2, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 3):
        assert_read_as_alone([GOOD[number % len(GOOD)] for number in range(count)])


def test_no_files_are_no_rows() -> None:
    pixels, errors = TRACED(tf.constant([], tf.string))
    assert pixels.shape == (0, SIZE, SIZE, 3)
    assert errors.shape == (0,)


@pytest.mark.parametrize("bad", [b"", b"text", b"\0refused: by the file itself", GOOD[0][:40]])
def test_a_bad_file_says_so_in_its_row_and_spoils_no_other(bad: bytes) -> None:
    for place in range(3):
        batch = GOOD[:2]
        batch.insert(place, bad)
        _, errors = TRACED(tf.constant(batch))
        assert [bool(error) for error in errors.numpy()] == [n == place for n in range(3)]
        assert b"itself" not in errors.numpy()[place]
        assert_read_as_alone(batch)


def test_bad_files_alone_are_answered() -> None:
    assert_read_as_alone([b"one", b"two"])


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "webp"])
def test_a_bomb_is_refused_before_it_is_decoded(kind: str) -> None:
    _, errors = TRACED(tf.constant([giant(kind), GOOD[0]]))
    assert errors.numpy().tolist() == [TOO_LARGE.encode(), b""]


def noise(kind: str) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP"]), st.integers(0, 10**6))
def test_damaged_files_are_read_or_refused_as_alone(kind: str, seed: int) -> None:
    chance, batch = random.Random(seed), []
    for _ in range(3):
        contents = bytearray(noise(kind))
        for _ in range(chance.randint(0, 4)):
            contents[chance.randrange(len(contents))] = chance.randrange(256)
        batch.append(bytes(contents[: chance.choice([None, chance.randrange(len(contents))])]))
    assert_read_as_alone(batch)


@pytest.mark.parametrize("sides", [(1, 65_536), (65_536, 1)])
def test_a_thin_image_that_would_take_gigabytes_to_resize_is_refused(sides: tuple) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", sides).save(buffer, "PNG")
    _, errors = TRACED(tf.constant([buffer.getvalue(), GOOD[0]]))
    assert errors.numpy().tolist() == [TOO_LONG.encode(), b""]
    buffer = io.BytesIO()
    Image.new("RGB", (65_535, 2)).save(buffer, "PNG")
    assert_read_as_alone([buffer.getvalue()])
