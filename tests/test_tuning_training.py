"""Trials that are really trained, small ones."""

from __future__ import annotations

import time
from pathlib import Path

import keras
import numpy as np
import pytest

from app import Augmentation, Data, Head, Recipe, Stage, override
from app.errors import RunError
from app.files import write_whole
from app.recipe import from_json
from app.run_directory import Run
from app.settings import to_json
from app.tuning import training
from app.tuning.finishing import finish, measure
from app.tuning.folds import folds_of
from app.tuning.images import images_of
from app.tuning.places import RECIPE
from app.tuning.request import Request, Tuning
from app.tuning.training import Trainer
from app.tuning.trials import COMPLETED, FAILED, STOPPED, Trial
from app.tuning.watching import OutOfTimeError


@pytest.fixture(scope="module")
def small(photos: Path) -> Recipe:
    """A head alone, which trains in a second or two."""
    return Recipe(
        name="small",
        data=Data(source=str(photos), image_size=32, batch_size=8),
        augmentation=Augmentation("none"),
        backbone="compact",
        weights="none",
        head=Head(dropout=0.1),
        stages={"head": Stage(epochs=3, learning_rate=1e-2)},
    )


def recipe_in(place: Path) -> Recipe:
    return from_json((place / RECIPE).read_text("utf-8"))


def never(curve: tuple[float, ...]) -> bool:
    return False


def trainer_in(folder: Path, recipe: Recipe, **asked: int) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    tuning = Tuning(folder, Request(recipe, folder / "small.py", **asked))
    index, prepared = images_of(tuning)
    return Trainer(tuning, index, before=prepared)


def test_a_trial_says_how_many_validation_images_it_names_rightly(
    small: Recipe, tmp_path: Path
) -> None:
    trainer = trainer_in(tmp_path, small)
    seen: list[tuple[float, ...]] = []
    found = trainer.train(Trial(0), small, lambda curve: bool(seen.append(curve)))
    assert found.status == COMPLETED
    assert [len(curve) for curve in seen] == [1, 2, 3]
    assert found.curve == seen[-1]
    validation = trainer.index.split("validation")
    assert len(found.right[0]) == found.images == len(validation)
    assert found.accuracy == pytest.approx(found.right[0].count("1") / len(validation))
    whole = measure(trainer, Trial(0, outcome=found))
    kept = whole.run.metrics["validation"]["accuracy"]["value"]
    assert found.accuracy == pytest.approx(kept)
    assert keras.saving.load_model(whole.run.model)
    before = whole.run.model.stat().st_mtime_ns
    assert measure(trainer, Trial(0, outcome=found)).accuracy == whole.accuracy
    assert whole.run.model.stat().st_mtime_ns == before  # measured once


def test_a_search_says_how_far_to_trust_few_validation_images(
    small: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer_in(tmp_path / "split", small)
    assert "chance moves an accuracy by about" in caplog.text
    caplog.clear()
    trainer_in(tmp_path / "folds", small, folds=2)
    assert "chance" not in caplog.text


def test_a_trial_of_another_machine_is_trained_again_to_be_measured(
    small: Recipe, tmp_path: Path
) -> None:
    changes = {"head.dropout": 0.3}
    there, here = trainer_in(tmp_path / "there", small), trainer_in(tmp_path / "here", small)
    outcome = there.train(Trial(1), override(small, changes), never)
    trial = Trial(1, changes=changes, outcome=outcome)
    found, again = measure(there, trial), measure(here, trial)
    assert again.accuracy == found.accuracy
    assert recipe_in(tmp_path / "here" / "trials" / "0001") == override(small, changes)


def test_a_trial_trains_to_the_same_weights_as_a_run_of_its_recipe(
    small: Recipe, tmp_path: Path
) -> None:
    from app import run

    recipe = override(small, {"head.dropout": 0.3, "learning_rate": 3e-3})
    trainer = trainer_in(tmp_path / "tuning", small)
    trainer.train(Trial(0), small, never)  # comes before, and must leave nothing behind
    outcome = trainer.train(Trial(1), recipe, never)
    found = measure(trainer, Trial(1, outcome=outcome)).run
    alone = run(recipe, tmp_path / "alone")
    ours, theirs = (keras.saving.load_model(each.model).weights for each in (found, alone))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.metrics == alone.metrics


def test_a_trial_that_ended_before_a_kill_is_not_trained_again(
    small: Recipe, tmp_path: Path
) -> None:
    trainer = trainer_in(tmp_path, small)
    first = trainer.train(Trial(0), small, never)
    again = trainer_in(tmp_path, small).train(Trial(0), small, lambda curve: pytest.fail("trained"))
    assert again == first


def test_executions_begin_from_other_seeds_and_count_together(
    small: Recipe, tmp_path: Path
) -> None:
    trainer = trainer_in(tmp_path, small, executions=2)
    found = trainer.train(Trial(0), small, never)
    count = len(trainer.index.split("validation"))
    assert [len(each) for each in found.right] == [count, count]
    place = trainer.tuning.trial(0)
    seeds = [recipe_in(place / name).seed for name in ("", "execution-2")]
    assert seeds == [small.seed, small.seed + 1]


def test_every_image_that_is_not_for_testing_validates_one_fold(
    small: Recipe, tmp_path: Path
) -> None:
    trainer = trainer_in(tmp_path, small, folds=3)
    folds = folds_of(trainer.index, 3, 0)
    ours = [image.path for image in trainer.index.images if image.split != "test"]
    validated = [image.path for fold in folds for image in fold.split("validation")]
    assert sorted(validated) == sorted(ours)
    assert all(fold.split("test") == trainer.index.split("test") for fold in folds)
    assert all(min(fold.class_counts("validation")) >= 5 for fold in folds)
    found = trainer.train(Trial(0), small, never)
    assert found.images == len(ours)
    results = finish(trainer, [Trial(0, outcome=found)])
    assert Run(trainer.tuning.trial(0), small).metrics["test"]["count"] == 9
    assert results["winner"] == 0


def test_what_goes_wrong_in_a_trial_is_its_outcome(small: Recipe, tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, small)
    wild = {"learning_rate": 1000.0, "optimizer": "sgd", "head.l2": 1000.0}  # grows by a million
    found = trainer.train(Trial(1), override(small, wild), never)
    assert found.status == FAILED
    assert "stage head was stopped" in found.said
    unknown = override(small, {"unfreeze": "no_such_block"})
    assert "no_such_block" in trainer.train(Trial(2), unknown, never).said
    assert trainer.train(Trial(3), small, never).status == COMPLETED


def test_a_hopeless_trial_stops_with_what_it_reached(small: Recipe, tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, small)
    found = trainer.train(Trial(1), small, lambda curve: len(curve) == 2)
    assert found.status == STOPPED
    assert len(found.curve) == 2
    assert found.accuracy == max(found.curve)


def test_a_trial_that_is_cut_by_the_clock_goes_on_to_the_same_end(
    small: Recipe, tmp_path: Path
) -> None:
    recipe = override(small, {"checkpoint_steps": 2, "cache": False})
    whole = trainer_in(tmp_path / "whole", recipe).train(Trial(0), recipe, never)
    cut = trainer_in(tmp_path / "cut", recipe)

    def late(curve: tuple[float, ...]) -> bool:
        cut.until = 0.0  # the next batch finds that the time has passed
        watched[0].until = 0.0
        return False

    watched: list[training.InTime] = []
    made = training.InTime

    def in_time(until: float) -> training.InTime:
        watched.append(made(until))
        return watched[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "InTime", in_time)
        with pytest.raises(OutOfTimeError):
            cut.train(Trial(0), recipe, late)
    cut.until = time.monotonic() + 1000
    found = cut.train(Trial(0), recipe, never)
    assert found.curve == whole.curve
    assert (found.accuracy, found.loss) == (whole.accuracy, whole.loss)


def test_where_memory_does_not_suffice_the_batch_is_halved_once(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    made = training.prepare

    def greedy(recipe: Recipe, *others: object) -> object:
        sizes.append(recipe.data.batch_size)
        if recipe.data.batch_size > 4:
            raise MemoryError("as a machine of little memory would")
        return made(recipe, *others)  # type: ignore[arg-type]  # handed through

    trainer = trainer_in(tmp_path, small)
    monkeypatch.setattr(training, "prepare", greedy)
    found = trainer.train(Trial(1), small, never)
    assert sizes == [8, 4]
    assert (found.status, found.said) == (COMPLETED, "batch halved to 4, for memory")
    assert recipe_in(tmp_path / "trials" / "0001").data.batch_size == 4
    huge = override(small, {"batch_size": 16})
    assert trainer.train(Trial(2), huge, never).said == "out of memory, with half the batch, too"
    assert sizes == [8, 4, 16, 8]


def test_images_that_changed_since_are_refused(tmp_path: Path, small: Recipe) -> None:
    from tests.conftest import make_photos

    folder = make_photos(tmp_path / "photos")
    recipe = override(small, {"data.source": str(folder)})
    trainer_in(tmp_path / "tuning", recipe)
    (folder / "2" / "0.jpg").unlink()
    with pytest.raises(RunError, match=r"1 images that .* begun with are gone or changed"):
        trainer_in(tmp_path / "tuning", recipe)


def test_a_paused_trial_goes_on_in_another_to_the_same_end(small: Recipe, tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, small)
    whole = trainer.train(Trial(1), small, never)
    paused = [trainer.train(Trial(2, epochs=1), small, never)]
    paused.append(trainer.train(Trial(3, continues=2, epochs=2), small, never))
    paused.append(trainer.train(Trial(4, continues=3, epochs=3), small, never))
    assert [each.curve for each in paused] == [whole.curve[:1], whole.curve[:2], whole.curve]
    assert (paused[-1].accuracy, paused[-1].loss) == (whole.accuracy, whole.loss)


def test_a_trial_of_another_machine_is_trained_from_its_beginning(
    small: Recipe, tmp_path: Path
) -> None:
    trainer = trainer_in(tmp_path, small)
    found = trainer.train(Trial(3, continues=2, epochs=2), small, never)
    assert len(found.curve) == 2


def test_a_run_directory_of_before_is_not_mistaken_for_a_trial(
    small: Recipe, tmp_path: Path
) -> None:
    place = tmp_path / "trials" / "0001"
    place.mkdir(parents=True)
    write_whole(place / "recipe.json", to_json(small))
    assert trainer_in(tmp_path, small).train(Trial(1), small, never).status == COMPLETED
