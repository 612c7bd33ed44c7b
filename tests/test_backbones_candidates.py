"""Which backbones are tried, and with which weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from app.backbones.candidates import Candidate, at_hand, named
from app.backbones.table import BACKBONES, find_backbone
from app.backbones.weights import EMBEDDED, VERSIONS, sha256_of
from app.errors import GraftError, RecipeError, WeightsError

SMALL = find_backbone("mobilenet_025")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Keras keeps its weights: an empty folder; and graft ships none."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("app.backbones.weights.EMBEDDED", tmp_path)
    monkeypatch.setattr("app.backbones.weights.VERSIONS", {})
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def names(found: list[Candidate]) -> list[str]:
    return [candidate.name for candidate in found]


def test_those_with_weights_on_this_machine_are_tried_and_the_others_named(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (models / SMALL.weights_names()[0]).touch()
    with caplog.at_level("INFO", "graft"):
        assert at_hand() == [Candidate(SMALL, "imagenet")]
    (line,) = caplog.messages
    left_out = line.partition("): ")[2].split(", ")
    assert "--only NAME,NAME downloads them" in line
    assert left_out == [name for name in BACKBONES if name not in ("compact", SMALL.name)]


def test_weights_that_graft_ships_are_tried_too(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (models.parent / "embedded-v1.npz").touch()
    digest = hashlib.sha256(b"").hexdigest()
    monkeypatch.setattr("app.backbones.weights.VERSIONS", {"embedded-v1": digest})
    assert at_hand() == [Candidate(find_backbone("compact"), "embedded")]


def test_without_any_weights_it_says_how_to_get_some(models: Path) -> None:
    with pytest.raises(WeightsError, match=f"{models}.*name some to download") as error:
        at_hand()
    assert error.value.exit_code == 2


def test_named_ones_are_tried_whether_their_weights_are_here_or_not(models: Path) -> None:
    file = models / "mine.weights.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\n")
    given = f"resnet50, mobilenet_025=none,compact={file},mobilenet_v2=imagenet,"
    found = named(given)
    assert [(c.backbone.name, c.weights) for c in found] == [
        ("resnet50", "imagenet"),
        ("mobilenet_025", "none"),
        ("compact", str(file)),
        ("mobilenet_v2", "imagenet"),
    ]
    assert names(found) == ["resnet50", "mobilenet_025=none", f"compact={file}", "mobilenet_v2"]


@pytest.mark.parametrize(
    ("only", "kind", "said"),
    [
        ("", RecipeError, "--only names no backbone"),
        (" , ", RecipeError, "--only names no backbone"),
        ("resnet51", RecipeError, "there is no backbone 'resnet51'. Did you mean"),
        ("resnet50,resnet50=imagenet", RecipeError, "--only names resnet50 twice"),
        ("compact", WeightsError, "ships no weights for compact"),
        ("compact=imagenet", WeightsError, "no ImageNet weights for compact"),
        ("resnet50=embedded", WeightsError, "for compact only, not for resnet50"),
        ("resnet50=", WeightsError, "there are no weights at"),
        ("resnet50=nowhere.h5", WeightsError, "there are no weights at nowhere.h5"),
    ],
)
def test_a_list_that_makes_no_sense_is_answered_in_one_line(
    models: Path, only: str, kind: type[GraftError], said: str
) -> None:
    with pytest.raises(kind, match=said) as error:
        named(only)
    assert "\n" not in str(error.value)


def test_the_weights_that_this_version_ships_are_found() -> None:
    try:
        found = names(at_hand())
    except WeightsError:
        found = []
    assert ("compact" in found) is bool(VERSIONS)


def test_every_version_that_was_shipped_is_there_as_it_was() -> None:
    for version, digest in VERSIONS.items():
        assert sha256_of(EMBEDDED / f"{version}.npz") == digest
