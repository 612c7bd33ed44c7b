"""Finding the learning rate of a stage of a recipe, on real files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import DataError, RecipeError, RunError
from app.finding import describe, find
from app.recipe import Recipe, override, stage_named


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_stage_is_tested_and_everything_lies_in_a_folder_of_its_own(
    tiny: Recipe, in_folder: Path
) -> None:
    found = find(tiny)
    assert found.stage == "warm_up"
    assert found.directory.parent == Path("runs/tiny")
    assert found.directory.name.startswith("find-lr-warm_up-20")
    names = sorted(path.name for path in found.directory.iterdir())
    assert names == ["learning_rate.csv", "learning_rate.png"]
    with (found.directory / "learning_rate.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for column, values in (
        ("learning_rate", found.test.rates),
        ("loss", found.test.losses),
        ("smoothed", found.test.smoothed),
    ):
        assert [float(row[column]) for row in rows] == list(values)
    recipe_file = Path("recipes/tiny.py")
    lines = describe(found, recipe_file)
    rate = found.test.suggestion
    assert lines[1] == f"graft train recipes/tiny.py --warm_up.learning_rate {rate:g}"
    assert lines[-1] == str(found.directory)
    assert override(tiny, {"warm_up.learning_rate": rate}).stages["warm_up"].learning_rate == rate


def test_a_later_stage_is_tested_on_what_those_before_it_learned(
    tiny: Recipe, in_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = override(tiny, {"warm_up.epochs": 3, "fine_tune.unfreeze": "top:1"})
    with caplog.at_level("INFO", "graft"):
        found = find(recipe, "fine_tune", in_folder / "there")
    assert "before stage fine_tune is tested, warm_up is trained" in caplog.text
    assert found.directory == in_folder / "there"
    # A fresh head knows nothing of three classes of the same size.
    assert found.test.smoothed[0] < 0.9 * np.log(3)
    # Beside it nothing is left of the training before.
    assert [path.name for path in in_folder.iterdir()] == ["there"]


def test_an_unknown_stage_is_answered_with_those_there_are(tiny: Recipe, in_folder: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"^tiny has no stage 'finetune': it has warm_up, fine_tune$"
    ):
        find(tiny, "finetune")
    assert stage_named(tiny, None) == "warm_up"
    assert stage_named(tiny, "fine_tune") == "fine_tune"
    assert not list(in_folder.iterdir())


def test_a_stage_is_checked_without_tensorflow(python: Callable[..., Any]) -> None:
    done = python(
        "-c",
        "import sys, app.recipe\nassert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)",
    )
    assert done.returncode == 0, done.stderr


def test_a_directory_that_holds_something_is_refused_at_once(tiny: Recipe, in_folder: Path) -> None:
    (in_folder / "full").mkdir()
    (in_folder / "full" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        find(tiny, directory=in_folder / "full")
    assert [path.name for path in (in_folder / "full").iterdir()] == ["notes.txt"]


def test_nothing_is_written_when_there_are_no_images(tiny: Recipe, in_folder: Path) -> None:
    with pytest.raises(DataError):
        find(override(tiny, {"data.source": str(in_folder / "nowhere")}))
    assert not list(in_folder.iterdir())
