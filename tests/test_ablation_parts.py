"""Which parts a recipe has, and the recipe without each."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from app.ablation.parts import NEUTRAL, default_parts, without
from app.errors import RecipeError
from app.recipe import Augmentation, Head, Recipe, Stage, check
from app.recipe_file import load_recipe_file
from app.settings import differences, leaves
from tests.conftest import ROOT

RECIPE = Recipe(
    name="plain",
    augmentation=Augmentation("medium", mixup=0.2),
    head=Head(units=(64,), batch_norm=True, residual=True, dropout=0.3),
    stages={
        "warm_up": Stage(epochs=4, label_smoothing=0.1),
        "fine_tune": Stage(
            epochs=8,
            unfreeze="top:2",
            loss="focal",
            label_smoothing=0.1,
            weight_decay=0.05,
            layer_decay=0.8,
            schedule="cosine",
            warmup_epochs="20%",
            clip_norm=1.0,
            accumulate_steps=2,
            weight_average="ema",
        ),
    },
)


def changes(part: str, recipe: Recipe = RECIPE) -> list[str]:
    return differences(recipe, without(recipe, part)[1])


def test_every_neutral_value_is_one_that_its_setting_can_have() -> None:
    known = {path.rpartition(".")[2]: leaf for path, leaf in leaves(RECIPE).items()}
    assert set(NEUTRAL) <= set(known)
    for name, value in NEUTRAL.items():
        assert known[name].accept(value) == value


@pytest.mark.parametrize(
    ("part", "name", "changed"),
    [
        ("transfer", "transfer", ["weights: imagenet -> none"]),
        ("weights", "transfer", ["weights: imagenet -> none"]),
        (
            "augmentation",
            "augmentation",
            ["augmentation.preset: medium -> none", "augmentation.mixup: 0.2 -> 0.0"],
        ),
        ("mixup", "augmentation.mixup", ["augmentation.mixup: 0.2 -> 0.0"]),
        ("flip", "augmentation.flip", ["augmentation.flip: horizontal -> none"]),
        ("dropout", "head.dropout", ["head.dropout: 0.3 -> 0.0"]),
        ("head.units", "head.units", ["head.units: 64 -> ()", "head.residual: true -> false"]),
        ("unfreeze", "unfreeze", ["stages.fine_tune.unfreeze: top:2 -> head"]),
        (
            "label_smoothing",
            "label_smoothing",
            [f"stages.{each}.label_smoothing: 0.1 -> 0.0" for each in ("warm_up", "fine_tune")],
        ),
        (
            "fine_tune.label_smoothing",
            "stages.fine_tune.label_smoothing",
            ["stages.fine_tune.label_smoothing: 0.1 -> 0.0"],
        ),
        ("warmup_epochs", "warmup_epochs", ["stages.fine_tune.warmup_epochs: 20% -> 0.0"]),
        ("layer_decay", "layer_decay", ["stages.fine_tune.layer_decay: 0.8 -> 1.0"]),
        ("clip_norm", "clip_norm", ["stages.fine_tune.clip_norm: 1.0 -> none"]),
        ("loss", "loss", ["stages.fine_tune.loss: focal -> cross_entropy"]),
        ("fine_tune.patience", "stages.fine_tune.patience", ["stages.fine_tune.patience: 5 -> 8"]),
    ],
)
def test_a_part_is_replaced_by_what_adds_nothing(part: str, name: str, changed: list[str]) -> None:
    assert without(RECIPE, part)[0] == name
    assert changes(part) == changed


@pytest.mark.parametrize("name", ["stages.warm_up", "warm_up"])
def test_a_stage_is_taken_away_whole(name: str) -> None:
    full, rest = without(RECIPE, name)
    assert full == "stages.warm_up"
    assert rest == replace(RECIPE, stages={"fine_tune": RECIPE.stages["fine_tune"]})


@pytest.mark.parametrize(
    ("part", "answer"),
    [
        ("augmentaton", "plain has no part 'augmentaton'. Did you mean 'augmentation'?"),
        ("stages.fine_tun", "has no part 'stages.fine_tun'. Did you mean 'stages.fine_tune'?"),
        ("finetune", "Did you mean 'fine_tune'?"),
        ("head.dropot", "plain has no setting 'head.dropot'. Did you mean 'head.dropout'?"),
        ("qqqq", "`graft show` lists them"),
        ("cutmix", "cutmix adds nothing to plain as it is: leave it out of --over"),
        ("warm_up.patience", "warm_up.patience adds nothing"),
        ("learning_rate", "learning_rate has no neutral value to take its place; what can be"),
        ("optimizer", "taken away from plain: transfer, augmentation, stages.warm_up"),
        ("backbone", "backbone has no neutral value"),
    ],
)
def test_a_part_that_is_none_is_answered_with_what_to_do(part: str, answer: str) -> None:
    with pytest.raises(RecipeError) as error:
        without(RECIPE, part)
    assert answer in str(error.value)


def test_the_only_stage_stays() -> None:
    with pytest.raises(RecipeError, match="train is the only stage of one"):
        without(Recipe(name="one"), "stages.train")


def test_what_a_recipe_uses_is_taken_away_unless_something_else_is_asked_for() -> None:
    assert default_parts(RECIPE) == [
        "transfer",
        "augmentation",
        "stages.warm_up",
        "stages.fine_tune",
        "head.units",
        "head.batch_norm",
        "head.residual",
        "head.dropout",
        "label_smoothing",
        "stages.fine_tune.unfreeze",
        "stages.fine_tune.loss",
        "stages.fine_tune.weight_decay",
        "stages.fine_tune.layer_decay",
        "stages.fine_tune.schedule",
        "stages.fine_tune.warmup_epochs",
        "stages.fine_tune.clip_norm",
        "stages.fine_tune.accumulate_steps",
        "stages.fine_tune.weight_average",
        "stages.fine_tune.patience",
    ]


def test_what_has_no_effect_beside_the_rest_is_no_part() -> None:
    idle = Recipe(
        name="idle",
        augmentation=Augmentation("none", flip="both"),
        weights="none",
        head=Head(dropout=0.1, batch_norm=True),
        stages={"train": Stage(epochs=3, layer_decay=0.5, train_batch_norm=True)},
    )
    assert default_parts(idle) == ["head.dropout"]
    for part in ("flip", "head.batch_norm", "layer_decay", "train_batch_norm", "patience"):
        with pytest.raises(RecipeError, match="adds nothing to idle"):
            without(idle, part)


def test_a_patience_that_never_runs_out_before_the_stage_does_is_no_part() -> None:
    """Of 6 epochs the last 5 can bring nothing, and then the stage is over anyway."""
    for epochs, counts in ((6, False), (7, True)):
        recipe = Recipe(name="r", stages={"train": Stage(epochs=epochs, patience=5)})
        assert ("stages.train.patience" in default_parts(recipe)) is counts


def test_a_one_cycle_always_rises() -> None:
    stage = Stage(schedule="one_cycle", warmup_epochs=2.0)
    recipe = Recipe(name="cycle", stages={"train": stage})
    assert "stages.train.warmup_epochs" not in default_parts(recipe)
    with pytest.raises(RecipeError, match="no neutral value"):
        without(recipe, "warmup_epochs")


def test_a_recipe_that_uses_nothing_has_nothing_to_take_away() -> None:
    bare = Recipe(
        name="bare",
        augmentation=Augmentation("none"),
        weights="none",
        head=Head(dropout=0.0),
        stages={"train": Stage(epochs=3)},
    )
    with pytest.raises(RecipeError, match="bare uses nothing"):
        default_parts(bare)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("[!ps]*.py")), ids=lambda p: p.stem)
def test_every_part_of_the_shipped_recipes_leaves_another_recipe_that_makes_sense(
    path: Path,
) -> None:
    recipe = load_recipe_file(path).recipe
    for part in default_parts(recipe):
        name, rest = without(recipe, part)
        check(rest)
        assert name == part
        assert rest != recipe


def test_the_parts_of_a_recipe_are_known_before_tensorflow_loads() -> None:
    code = (
        "import sys; from app.ablation.running import ablate\nfrom app import Recipe\n"
        "from app.ablation.parts import default_parts\ndefault_parts(Recipe(name='r'))\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_of_every_setting_of_a_stage_it_was_thought_of_whether_it_is_a_part() -> None:
    """A new setting must either have a neutral value or be named here."""
    always = {
        *("epochs", "learning_rate", "optimizer", "momentum", "focal_gamma", "ema_momentum"),
        *("decay_epochs", "decay_rate", "decay_power", "plateau_patience", "swa_start"),
        *("keep", "views"),
    }
    names = {each.name for each in fields(Stage)}
    assert names == always | {"patience"} | (names & set(NEUTRAL))
