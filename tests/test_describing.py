"""How weights are named in the card of an export; what else it says is tested with exports."""

from __future__ import annotations

import pytest

from app.describing import name_of_weights


@pytest.mark.parametrize(
    ("source", "file", "named"),
    [
        ("none", None, "none"),
        ("imagenet", "/home/me/.keras/models/x.h5", "imagenet"),
        ("embedded", "/graft/app/backbones/embedded/embedded-v2.npz", "embedded-v2"),
        ("embedded-v1", "/graft/app/backbones/embedded/embedded-v1.npz", "embedded-v1"),
        ("/home/me/mine.h5", "/home/me/mine.h5", "a file"),
    ],
)
def test_weights_are_named_so_that_anybody_gets_the_same_and_no_place_is_told(
    source: str, file: str | None, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.backbones.weights.VERSIONS", {"embedded-v1": "", "embedded-v2": ""})
    assert name_of_weights(source, file) == named
