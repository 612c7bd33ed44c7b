"""What surrounds the work: how long it takes, in words."""

from __future__ import annotations

import pytest

from app.working import duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (90, "2 minutes"),
        (1230, "20 minutes"),
        (7199, "120 minutes"),
        (7200, "2.0 hours"),
        (21600, "6.0 hours"),
    ],
)
def test_a_duration_is_written_as_one_says_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said
