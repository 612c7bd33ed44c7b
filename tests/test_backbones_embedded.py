"""What graft ships: the file that was shipped, its card, and features that are worth something."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from app.backbones.build import build_backbone, scale_pixels
from app.backbones.table import find_backbone
from app.backbones.weights import EMBEDDED, VERSIONS, sha256_of
from app.data.generated import generate_of_classes
from app.data.photographs import PHOTOGRAPHS
from tests.conftest import ROOT

COMPACT = find_backbone("compact")
every_version = pytest.mark.parametrize("version", VERSIONS)


@every_version
def test_a_version_is_what_was_shipped_and_small(version: str) -> None:
    file = EMBEDDED / f"{version}.npz"
    assert sha256_of(file) == VERSIONS[version]
    assert file.stat().st_size < 5_000_000


@every_version
def test_its_card_names_the_file_and_each_photograph_with_hash_licence_and_maker(
    version: str,
) -> None:
    card = (ROOT / "docs" / f"{version}.md").read_text("utf-8")
    assert VERSIONS[version] in card
    for each in PHOTOGRAPHS:
        (row,) = [line for line in card.splitlines() if f"`{each.path}`" in line]
        for told in (each.sha256, each.licence, each.attribution):
            assert told in row


@every_version
def test_its_features_tell_shapes_apart_better_than_random_ones(version: str) -> None:
    shown, names = generate_of_classes(range(300), 10, 48, seed=1)
    found = {}
    for weights in (version, "none"):
        base, _ = build_backbone(COMPACT, 48, weights)
        pixels = scale_pixels(np.stack(shown).astype("float32"), COMPACT)
        features = base.predict(pixels, verbose=0)
        probe = make_pipeline(StandardScaler(), RidgeClassifier(300.0))
        probe.fit(features[:150], names[:150])
        found[weights] = probe.score(features[150:], names[150:])
    assert found[version] > found["none"] + 0.05, found
