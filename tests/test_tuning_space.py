"""What may be searched, and what may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from keras_tuner import HyperParameters

from app import Augmentation, Data, Head, Recipe, Stage, settings
from app.errors import RecipeError
from app.recipe_file import load_recipe_file
from app.tuning.space import Space, build_space
from tests.conftest import ROOT

RECIPE = Recipe(
    name="small",
    data=Data(source="nowhere"),
    head=Head(units=(64,)),
    stages={
        "warm_up": Stage(epochs=2),
        "fine_tune": Stage(epochs=4, unfreeze="top:3", optimizer="adamw"),
    },
)


def space_of(search: Any, algorithm: str = "random") -> Space:
    return build_space(RECIPE, search, "small.py", algorithm)


def test_each_hyperparameter_is_a_setting_by_its_dotted_or_bare_name() -> None:
    def search(hp: HyperParameters) -> None:
        hp.Float("head.dropout", 0.0, 0.5, step=0.1)
        hp.Int("epochs", 1, 3)

    changes = space_of(search).changes({"head.dropout": 0.3, "epochs": 2})
    assert changes == {
        "head.dropout": 0.3,
        "stages.warm_up.epochs": 2,
        "stages.fine_tune.epochs": 2,
    }


def test_tuples_and_none_are_written_as_the_command_line_writes_them() -> None:
    def search(hp: HyperParameters) -> None:
        hp.Choice("head.units", ["()", "128", "256,64"])
        hp.Choice("data.image_size", ["none", "96"])

    values = {"head.units": "256,64", "data.image_size": "none"}
    assert space_of(search).changes(values) == {
        "head.units": (256, 64),
        "data.image_size": None,
    }
    assert space_of(search).recipe_of(values).head.units == (256, 64)


def test_what_lies_in_a_branch_that_is_not_taken_changes_nothing() -> None:
    def search(hp: HyperParameters) -> None:
        if hp.Choice("fine_tune.optimizer", ["adamw", "momentum"]) == "momentum":
            hp.Float("fine_tune.momentum", 0.5, 0.9)

    space = space_of(search)
    assert [each.name for each in space.hyperparameters.space] == [
        "fine_tune.optimizer",
        "fine_tune.momentum",
    ]
    taken = {"fine_tune.optimizer": "momentum", "fine_tune.momentum": 0.7}
    left = {"fine_tune.optimizer": "adamw", "fine_tune.momentum": 0.7}
    assert space.changes(taken)["stages.fine_tune.momentum"] == 0.7
    assert space.changes(left) == {"stages.fine_tune.optimizer": "adamw"}


def test_conditional_scopes_of_keras_tuner_hold() -> None:
    def search(hp: HyperParameters) -> None:
        hp.Choice("fine_tune.optimizer", ["adamw", "momentum"])
        with hp.conditional_scope("fine_tune.optimizer", ["momentum"]):
            hp.Float("fine_tune.momentum", 0.5, 0.9)

    space = space_of(search)
    assert "stages.fine_tune.momentum" not in space.changes({"fine_tune.optimizer": "adamw"})
    assert space.lines()[1] == (
        "fine_tune.momentum: 0.5 to 0.9, if fine_tune.optimizer is momentum"
    )


def test_numbers_from_a_range_have_four_digits_that_count_and_stay_within_it() -> None:
    def search(hp: HyperParameters) -> None:
        hp.Float("fine_tune.learning_rate", 1.2354e-4, 1e-2, sampling="log")

    space = space_of(search)
    value = space.changes({"fine_tune.learning_rate": 0.00123456789})
    assert value == {"stages.fine_tune.learning_rate": 0.001235}
    least = space.changes({"fine_tune.learning_rate": 1.2354e-4})
    assert least == {"stages.fine_tune.learning_rate": 1.2354e-4}


WRONG = {
    "no setting 'head.droput'": lambda hp: hp.Float("head.droput", 0.0, 0.5),
    "head.dropout is 1.5": lambda hp: hp.Float("head.dropout", 0.0, 1.5),
    "stages.warm_up.epochs is 1.0": lambda hp: hp.Float("warm_up.epochs", 1.0, 3.0),
    "head.activation is 'reluu'": lambda hp: hp.Choice("head.activation", ["relu", "reluu"]),
    "nothing that varies": lambda hp: hp.Fixed("head.dropout", 0.1),
    "greater than": lambda hp: hp.Float("head.dropout", 0.5, 0.1),
    "data.source cannot be searched": lambda hp: hp.Choice("data.source", ["a", "b"]),
    "seed cannot be searched": lambda hp: hp.Int("seed", 0, 5),
    "search(hp) fails: ZeroDivisionError": lambda hp: 1 / 0,
    "search(hp) fails: AttributeError": lambda hp: hp.Flat("head.dropout", 0.0, 0.5),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_makes_no_sense_is_said_before_the_first_trial(said: str) -> None:
    with pytest.raises(RecipeError, match=said.replace("(", r"\(").replace(")", r"\)")):
        space_of(WRONG[said])


def test_two_names_for_one_setting_are_refused() -> None:
    def search(hp: HyperParameters) -> None:
        hp.Float("learning_rate", 1e-4, 1e-2)
        hp.Float("warm_up.learning_rate", 1e-4, 1e-2)

    with pytest.raises(RecipeError, match=r"both search stages\.warm_up\.learning_rate"):
        space_of(search)


def test_hyperband_refuses_epochs_which_it_sets_itself() -> None:
    def search(hp: HyperParameters) -> None:
        hp.Int("epochs", 1, 3)

    with pytest.raises(RecipeError, match="says itself how long"):
        space_of(search, "hyperband")
    assert space_of(search, "random")


def test_a_recipe_without_search_has_a_space_around_what_it_says() -> None:
    space = space_of(None)
    names = {each.name for each in space.hyperparameters.space}
    assert {
        "stages.warm_up.learning_rate",
        "stages.fine_tune.learning_rate",
        "stages.fine_tune.unfreeze",
        "stages.fine_tune.optimizer",
        "stages.fine_tune.weight_decay",
        "stages.fine_tune.label_smoothing",
        "head.dropout",
        "head.units",
        "augmentation.preset",
    } == names
    written = {each.name: each.default for each in space.hyperparameters.space}
    assert written["stages.fine_tune.unfreeze"] == "top:3"
    assert written["head.units"] == "64"
    assert len(space.lines()) == len(names)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.py")), ids=lambda p: p.stem)
def test_every_shipped_recipe_can_be_searched(path: Path) -> None:
    if path.stem.startswith("pretrain"):
        pytest.skip("it has no settings of training")
    file = load_recipe_file(path)
    space = build_space(file.recipe, file.search, path, "random")
    drawn = {each.name: each.random_sample(7) for each in space.hyperparameters.space}
    changed = space.recipe_of(drawn)
    assert settings.differences(file.recipe, changed)


def test_a_stage_of_the_hinge_loss_gets_no_label_smoothing() -> None:
    hinge = Recipe("hinge", augmentation=Augmentation(), stages={"head": Stage(loss="hinge")})
    names = [each.name for each in build_space(hinge, None, "", "grid").hyperparameters.space]
    assert not any(name.endswith("label_smoothing") for name in names)


def test_a_head_that_starts_from_zeros_gets_no_hidden_layers() -> None:
    zeros = Recipe("zeros", head=Head(initializer="zeros"), stages={"head": Stage()})
    names = [each.name for each in build_space(zeros, None, "", "random").hyperparameters.space]
    assert "head.units" not in names
    assert "head.dropout" in names
