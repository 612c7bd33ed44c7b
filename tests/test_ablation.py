"""Ablations with real runs of a tiny network."""

from __future__ import annotations

import csv
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from app import Data, Recipe, Stage
from app.ablation.effects import Ablation, table
from app.ablation.running import ablate
from app.errors import GraftError, RecipeError, RunError
from app.run_directory import open_finished_run

OVER = ("dropout", "label_smoothing")
NAMES = (
    "as_written-4",
    "without-head.dropout-4",
    "without-stages.warm_up.label_smoothing-4",
)


@pytest.fixture(scope="module")
def small(tiny: Recipe) -> Recipe:
    """The tiny recipe with one stage of one epoch."""
    stage = replace(tiny.stages["warm_up"], label_smoothing=0.1)
    return replace(tiny, stages={"warm_up": stage}, seed=4)


@pytest.fixture(scope="module")
def ablation(small: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    """Read only."""
    return ablate(small, OVER, 1, tmp_path_factory.mktemp("ablations") / "first")


def test_each_run_is_that_of_the_recipe_with_one_part_less(
    ablation: Ablation, small: Recipe
) -> None:
    as_written, no_dropout, unsmoothed = (
        open_finished_run(ablation.directory / name).recipe for name in NAMES
    )
    assert as_written == small
    assert no_dropout == replace(small, head=replace(small.head, dropout=0.0))
    stage = replace(small.stages["warm_up"], label_smoothing=0.0)
    assert unsmoothed == replace(small, stages={"warm_up": stage})


def test_the_numbers_are_those_of_the_runs(ablation: Ablation) -> None:
    runs = [open_finished_run(ablation.directory / name) for name in NAMES]
    accuracy, no_dropout, unsmoothed = (r.metrics["test"]["accuracy"]["value"] for r in runs)
    first, second = ablation.effects
    assert [first.part, second.part] == ["head.dropout", "stages.warm_up.label_smoothing"]
    assert first.as_written == second.as_written == pytest.approx(accuracy)
    assert (first.without, second.without) == pytest.approx((no_dropout, unsmoothed))
    assert second.brought == pytest.approx(100 * (accuracy - unsmoothed), abs=1e-3)
    assert not ablation.failures
    assert not ablation.failed
    assert len(runs[0].right_answers()) == runs[0].metrics["test"]["count"]


def test_tables_and_the_recipe_lie_beside_the_runs(ablation: Ablation) -> None:
    with (ablation.directory / "ablation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["part"] for row in rows] == ["head.dropout", "stages.warm_up.label_smoothing"]
    assert [float(row["brought"]) for row in rows] == [e.brought for e in ablation.effects]
    assert table(ablation.effects) in (ablation.directory / "ablation.md").read_text()
    names = {each.name for each in ablation.directory.iterdir()}
    assert names == {*NAMES, "ablation.csv", "ablation.md", "ablation.json"}


def test_given_again_it_repeats_nothing_and_a_run_that_fails_stops_no_other(
    ablation: Ablation, small: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = ablation.directory / "without-augmentation-4"
    blocked.mkdir()
    (blocked / "letter.txt").write_text("in the way")
    models = [ablation.directory / name / "model.keras" for name in NAMES]
    before = [model.stat().st_mtime_ns for model in models]
    with caplog.at_level(logging.INFO, "graft"):
        again = ablate(small, ("augmentation", *OVER), 1, ablation.directory)
    assert [model.stat().st_mtime_ns for model in models] == before
    assert again.effects[1:] == ablation.effects
    assert again.effects[0].verdict == "failed"
    assert "letter.txt" in str(list(blocked.iterdir()))
    assert "is not empty" in again.failures["without-augmentation-4"]
    assert "without-augmentation-4 failed" in (again.directory / "ablation.md").read_text()
    assert f"run 4 of 4: {NAMES[-1]}" in caplog.text
    assert not again.failed


def test_if_every_run_fails_the_ablation_has(small: Recipe, tmp_path: Path) -> None:
    nothing = replace(small, data=Data(source=str(tmp_path / "nowhere")))
    found = ablate(nothing, ("dropout",), 1, tmp_path / "out")
    assert found.failed
    assert list(found.failures) == ["as_written-4", "without-head.dropout-4"]
    assert all("nowhere does not exist" in reason for reason in found.failures.values())


def test_a_directory_of_something_else_is_left_alone(
    ablation: Ablation, small: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("in the way")
    with pytest.raises(RunError, match="is not empty: name a new directory with --output"):
        ablate(small, OVER, 1, tmp_path)
    with pytest.raises(RunError, match="an ablation of another recipe"):
        ablate(replace(small, seed=5), OVER, 1, ablation.directory)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        ablate(small, OVER, 1, tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("change", "over", "seeds"),
    [
        ({}, ("learning_rate",), 1),
        ({}, ("dropout",), 0),
        ({"seed": 2**31 - 1}, ("dropout",), 2),
        ({"stages": {"train": Stage(epochs=0)}}, ("dropout",), 1),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_written(
    change: dict[str, object], over: tuple[str, ...], seeds: int, small: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError):
        ablate(Recipe(**{**vars(small), **change}), over, seeds, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_left_to_itself_it_names_its_parts_and_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    short = Recipe(name="short", weights="none", stages={"train": Stage(epochs=3)}, seed=4)

    def refuse(recipe: Recipe, directory: Path | None) -> object:
        raise GraftError("no time")

    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO, "graft"):
        found = ablate(short, run=refuse)  # type: ignore[arg-type]  # it never returns
    assert found.directory.parent == Path("runs/short")
    assert found.directory.name.startswith("ablation-")
    assert [effect.part for effect in found.effects] == ["augmentation", "head.dropout"]
    assert "taken away, one at a time: augmentation, head.dropout" in caplog.text
    assert "run 1 of 9: as_written-4" in caplog.text
    assert found.seeds == (4, 5, 6)


def test_tensorflow_does_not_warn_of_the_many_networks_but_is_heard_otherwise(
    small: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("tensorflow")

    def refuse(recipe: Recipe, directory: Path | None) -> object:
        log.warning("5 out of the last 13 calls triggered tf.function retracing.")
        log.warning("something else")
        raise GraftError("no time")

    filters = list(log.filters)
    ablate(small, ("dropout",), 1, tmp_path / "out", refuse)  # type: ignore[arg-type]  # as above
    said = [record.getMessage() for record in caplog.records if record.name == "tensorflow"]
    assert said == ["something else"] * 2
    assert log.filters == filters
