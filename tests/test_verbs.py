from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import Data, Recipe, Stage, run, verbs
from app.errors import DataError, GraftError, RecipeError, RunError, WeightsError

RECIPE = Recipe(name="plain", data=Data(source="sklearn:digits"), weights="none")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes a module that can be imported by the name given back."""
    monkeypatch.syspath_prepend(tmp_path)
    name = "noisy_module_of_test_verbs"

    def write(content: str) -> str:
        (tmp_path / f"{name}.py").write_text(content, "utf-8")
        return name

    yield write
    sys.modules.pop(name, None)


def test_what_a_module_says_to_standard_error_when_it_loads_is_held_back(
    module: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    name = module("import os\nos.write(2, b'no driver here')\nanswer = 42\n")
    assert verbs.load(name).answer == 42
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"


def test_what_a_module_said_is_shown_if_it_cannot_be_loaded(
    module: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    name = module("import os\nos.write(2, b'library is missing')\nraise ImportError('broken')\n")
    with pytest.raises(ImportError, match="broken"):
        verbs.load(name)
    os.write(2, b", heard again")
    assert capfd.readouterr().err == "library is missing, heard again"


@pytest.mark.parametrize(
    ("changes", "kind", "answer"),
    [
        ({"stages": {"train": Stage(epochs=0)}}, RecipeError, "stages.train.epochs is 0"),
        ({"backbone": "mobilnet_v2"}, RecipeError, "Did you mean 'mobilenet_v2'?"),
        ({"weights": "none.h5"}, WeightsError, "no weights at none.h5"),
        ({"weights": "embedded"}, WeightsError, "embedded weights exist for compact only"),
        ({"data": Data()}, DataError, "give a folder with --data.source FOLDER"),
        ({"data": Data(source="nowhere")}, DataError, "nowhere does not exist"),
        ({"data": Data(source="x" * 300)}, DataError, "File name too long"),
        ({"data": Data(source="~no-such-user/x")}, DataError, "~no-such-user/x cannot be read"),
        ({"weights": "x" * 300}, WeightsError, "File name too long"),
        ({"weights": "~no-such-user/x"}, WeightsError, "~no-such-user/x cannot be read"),
    ],
)
def test_what_can_be_known_to_fail_is_said_before_anything_loads_or_is_written(
    changes: dict[str, object],
    kind: type[GraftError],
    answer: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "app.runs", None)  # whoever imports it now fails
    recipe = Recipe(**{**vars(RECIPE), **changes})
    with pytest.raises(kind) as error:
        run(recipe, tmp_path / "run")
    assert answer in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_loose_images_in_the_home_folder_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For pretraining, which asks for no classes."""
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "0.png").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    verbs.check_source("~/loose")
    with pytest.raises(DataError):
        verbs.check_source("~/none")


def test_a_run_directory_that_will_not_do_is_refused_before_anything_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "app.runs", None)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="is not empty"):
        run(RECIPE, tmp_path)
    with pytest.raises(RunError, match="is a file"):
        run(RECIPE, tmp_path / "file" / "run")
