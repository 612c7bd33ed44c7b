"""What is told of bytes that are no image."""

from __future__ import annotations

import pytest
import tensorflow as tf

from app.data.reading import read_image
from app.errors import decoding_reason

SPOILT = {
    b"Dear Sir or Madam": "The bytes are no image of a known format (JPEG, PNG, GIF, BMP, WebP)",
    b"\xff\xd8\xff\xe0zzzz": "Invalid JPEG data, size 8",
    b"\x89PNG\r\n\x1a\n" + b"0" * 40: "The image has a side of more than 65535 pixels",
    b"GIF89a" + b"\x10\0\x10\0" + b"0" * 9: "The GIF file has no complete frame",
}


@pytest.mark.parametrize(("contents", "wanted"), SPOILT.items())
def test_the_reason_is_what_was_said_of_the_bytes(contents: bytes, wanted: str) -> None:
    read = tf.function(read_image)
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        read(tf.constant(contents), 32)
    found = decoding_reason(str(raised.value.message))
    assert found.startswith(wanted)
    assert "\n" not in found
    assert "{{" not in found


def test_a_message_without_words_still_gives_a_reason() -> None:
    assert decoding_reason("") == "no image"
