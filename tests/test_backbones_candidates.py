"""Which backbones are tried, and with which weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.backbones.candidates import Candidate, at_hand, named
from app.backbones.table import BACKBONES, find_backbone
from app.errors import GraftError, RecipeError, WeightsError

SMALL = find_backbone("mobilenet_025")
EMBEDDED_ONE = Candidate(find_backbone("compact"), "embedded")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Keras keeps its weights: an empty folder."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def names(found: list[Candidate]) -> list[str]:
    return [candidate.name for candidate in found]


def test_those_with_weights_on_this_machine_are_tried_and_the_others_named(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (models / SMALL.weights_names()[0]).touch()
    with caplog.at_level("INFO", "graft"):
        assert set(at_hand()) == {Candidate(SMALL, "imagenet"), EMBEDDED_ONE}
    (line,) = caplog.messages
    left_out = line.partition("): ")[2].split(", ")
    assert "--only NAME,NAME downloads them" in line
    assert left_out == [name for name in BACKBONES if name not in ("compact", SMALL.name)]


def test_where_no_weights_were_downloaded_those_that_graft_ships_are_tried(models: Path) -> None:
    assert at_hand() == [EMBEDDED_ONE]


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
        ("compact,embedded", RecipeError, "--only names embedded twice"),
        ("resnet50,resnet50=imagenet", RecipeError, "--only names resnet50 twice"),
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
