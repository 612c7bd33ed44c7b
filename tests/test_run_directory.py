from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from app import Recipe, Run, Stage, override
from app.errors import RunError
from app.run_directory import begun_run, check_place, new_run, open_finished_run, open_run

RECIPE = Recipe(name="flowers", stages={"train": Stage(epochs=3)})
not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(RunError) as error:
        work()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return new_run(RECIPE, tmp_path / "run")


def test_a_new_run_opens_with_its_recipe(run: Run) -> None:
    assert open_run(run.directory) == run == Run(run.directory, RECIPE)
    assert sorted(each.name for each in run.directory.iterdir()) == ["recipe.json"]


def test_a_run_without_a_place_lies_under_its_recipes_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_run(RECIPE).directory.parent == Path("runs/flowers")


def test_runs_that_start_at_once_get_places_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: new_run(RECIPE), range(8)))
    assert len({run.directory for run in runs}) == 8
    assert all((run.directory / "recipe.json").is_file() for run in runs)


def test_an_empty_directory_may_be_a_new_run(tmp_path: Path) -> None:
    assert new_run(RECIPE, tmp_path).directory == tmp_path


@pytest.mark.parametrize("ask", [check_place, new_run])
def test_a_directory_with_something_in_it_is_left_alone(
    tmp_path: Path, ask: Callable[[Recipe, Path], object]
) -> None:
    (tmp_path / ".hidden").touch()
    answer = refusal(lambda: ask(RECIPE, tmp_path))
    assert answer == f"{tmp_path} is not empty: name a new directory with --run-dir"
    assert [each.name for each in tmp_path.iterdir()] == [".hidden"]


@pytest.mark.parametrize("ask", [check_place, new_run])
@pytest.mark.parametrize("inside", ["", "x", "x/y"])
def test_a_place_that_is_or_lies_in_a_file_is_refused(
    tmp_path: Path, ask: Callable[[Recipe, Path], object], inside: str
) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / inside
    answer = refusal(lambda: ask(RECIPE, place))
    assert answer.startswith(f"{place} cannot be written ({tmp_path / 'file'} is a file): ")


@not_root
def test_a_place_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "no permission" in refusal(lambda: check_place(RECIPE, tmp_path / "a" / "b"))


def test_a_place_with_too_long_a_name_is_refused(tmp_path: Path) -> None:
    place = tmp_path / ("x" * 300)
    assert "File name too long" in refusal(lambda: check_place(RECIPE, place))


def test_looking_at_a_place_writes_nothing(tmp_path: Path) -> None:
    check_place(RECIPE, tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_reads_back(run: Run) -> None:
    run.write("manifest.json", {"class_names": ["Äpfel", "Birnen"]})
    run.write("metrics.json", {"test": {"count": 3}})
    assert run.manifest == {"class_names": ["Äpfel", "Birnen"]}
    assert run.metrics == {"test": {"count": 3}}


def test_what_is_missing_says_what_to_do(run: Run) -> None:
    unfinished = f"{run.directory} has no manifest.json: its training did not finish"
    assert refusal(lambda: run.manifest) == unfinished
    unmeasured = f"has no metrics.json: `graft evaluate {run.directory}` measures it"
    assert refusal(lambda: run.metrics).endswith(unmeasured)


@pytest.mark.parametrize("content", [b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
def test_a_damaged_file_of_a_run_is_named(run: Run, content: bytes) -> None:
    (run.directory / "metrics.json").write_bytes(content)
    answer = refusal(lambda: run.metrics)
    assert answer.startswith(f"{run.directory / 'metrics.json'} is damaged: ")


def test_test_images_are_those_of_the_test_split_in_order(run: Run) -> None:
    run.splits.write_text("path,split\nb.jpg,test\na.jpg,train\na b.jpg,test\n", "utf-8")
    assert run.test_images() == [Path("b.jpg"), Path("a b.jpg")]


@pytest.mark.parametrize("content", [b"path\na.jpg\n", b"path,split\n\xff,test\n"])
def test_damaged_splits_are_named(run: Run, content: bytes) -> None:
    run.splits.write_bytes(content)
    assert refusal(run.test_images).startswith(f"{run.splits} is damaged: ")


def test_missing_splits_are_told(run: Run) -> None:
    assert refusal(run.test_images) == f"{run.directory} has no splits.csv: it is no whole run"


def test_a_directory_that_is_no_run_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(lambda: open_run(tmp_path)).startswith(f"{tmp_path} is no run: it has no recipe")
    missing = tmp_path / "none"
    assert refusal(lambda: open_run(missing)).startswith(f"{missing} does not exist; `graft train`")
    (tmp_path / "file").touch()
    assert "is no run" in refusal(lambda: open_run(tmp_path / "file"))


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"name": "a", "sed": 3}', b'{"name": ""}'])
def test_a_damaged_recipe_of_a_run_is_named(run: Run, content: bytes) -> None:
    (run.directory / "recipe.json").write_bytes(content)
    answer = refusal(lambda: open_run(run.directory))
    assert answer.startswith(f"{run.directory / 'recipe.json'} cannot be read: ")


def test_a_run_is_finished_once_its_model_is_there(run: Run) -> None:
    assert "has no manifest.json" in refusal(lambda: open_finished_run(run.directory))
    run.write("manifest.json", {"seed": 0})
    answer = refusal(lambda: open_finished_run(run.directory))
    assert answer == f"{run.directory} has no model.keras: its training did not finish"
    run.model.touch()
    assert open_finished_run(run.directory) == run


def test_a_run_that_was_begun_is_found_again(run: Run, tmp_path: Path) -> None:
    assert begun_run(RECIPE, run.directory) == run
    assert begun_run(RECIPE, None) is None
    assert begun_run(RECIPE, tmp_path / "new") is None
    check_place(RECIPE, run.directory)


def test_a_run_of_another_recipe_is_refused_with_what_differs(run: Run) -> None:
    with pytest.raises(RunError, match=r"another recipe \(seed: 0 -> 7\)"):
        begun_run(override(RECIPE, {"seed": 7}), run.directory)
    with pytest.raises(RunError, match=r"another recipe \(it has other stages\)"):
        check_place(replace(RECIPE, stages={"other": Stage()}), run.directory)


def test_what_a_kill_left_before_the_recipe_was_written_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".partial-123-recipe.json").write_text("{")
    check_place(RECIPE, tmp_path)
    new_run(RECIPE, tmp_path)
    assert open_run(tmp_path).recipe == RECIPE


def test_a_lock_keeps_others_out_until_it_is_left(run: Run) -> None:
    refused = pytest.raises(RunError, match="is being trained by another process")
    with run.locked(), refused, run.locked():
        pass
    with run.locked():
        pass
