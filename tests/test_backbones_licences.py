from __future__ import annotations

import pytest

from app.backbones.licences import licence_of


@pytest.mark.parametrize(
    ("backbone", "weights", "said"),
    [
        ("compact", "none", "no weights of others"),
        ("compact", "embedded", "the licence of graft (trained by graft itself)"),
        ("compact", "embedded-v1", "the licence of graft (trained by graft itself)"),
        ("resnet50", "imagenet", "MIT (github.com/KaimingHe/deep-residual-networks), learned from"),
        ("resnet50_v2", "imagenet", "whose licence graft does not know"),
        ("efficientnet_v2_b0", "imagenet", "Apache-2.0 (github.com/google/automl), learned from"),
        ("compact", "a file", "weights from a file, whose licence graft does not know"),
    ],
)
def test_a_licence_is_that_of_the_longest_name_and_of_what_was_loaded(
    backbone: str, weights: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.backbones.weights.VERSIONS", {"embedded-v1": "0" * 64})
    assert said in licence_of(backbone, weights)
