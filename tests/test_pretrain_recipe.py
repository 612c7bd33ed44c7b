"""Recipes of pretraining: what goes together, and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app import Augmentation, Pretraining, Unlabelled
from app.errors import RecipeError, RunError
from app.pretrain_recipe import check, from_json, override, was_begun
from app.settings import to_json

GENERATED = Pretraining(name="a", data=Unlabelled(generated=1.0))


def test_a_recipe_is_read_back_as_it_was_written() -> None:
    recipe = override(GENERATED, {"projection": (64,), "batch_size": 16, "preset": "strong"})
    assert from_json(to_json(recipe)) == recipe


def test_the_embedded_backbone_is_compact_with_the_weights_that_come_with_graft() -> None:
    found = override(GENERATED, {"backbone": "embedded"})
    assert (found.backbone, found.weights) == ("compact", "embedded")
    found = override(GENERATED, {"backbone": "embedded", "weights": "runs/a"})
    assert (found.backbone, found.weights) == ("compact", "runs/a")


@pytest.mark.parametrize(
    ("recipe", "answer"),
    [
        (Pretraining(name="a"), "no images named: give a folder with --data.source FOLDER"),
        (replace(GENERATED, name="a/b"), "name is 'a/b'"),
        (replace(GENERATED, projection=()), "projection is empty"),
        (replace(GENERATED, steps=0), "steps is 0: it must be"),
        (replace(GENERATED, method="simclr"), "method is 'simclr': it must be"),
        (
            replace(GENERATED, data=Unlabelled("x", generated=1.0)),
            "data.generated is 1, which leaves no place for data.source",
        ),
        (
            replace(GENERATED, method="classification", data=Unlabelled("x", generated=0.5)),
            "method is classification, of generated shapes alone",
        ),
        (
            replace(GENERATED, data=Unlabelled("x", generated=0.05, batch_size=8)),
            "data.generated is 0.05, of batches of 8: that leaves no image of one kind",
        ),
        (
            replace(GENERATED, data=Unlabelled("x", generated=0.97, batch_size=8)),
            "data.generated is 0.97, of batches of 8",
        ),
        (replace(GENERATED, warmup=0.6), "warmup is 0.6: it must be"),
        (replace(GENERATED, augmentation=Augmentation("none")), "both views of an image are the"),
        (replace(GENERATED, augmentation=Augmentation(mixup=0.2)), "mixup and cutmix blend labels"),
        (replace(GENERATED, jit_compile=True), "jit_compile is true and deterministic is true"),
    ],
)
def test_what_makes_no_sense_is_refused(recipe: Pretraining, answer: str) -> None:
    with pytest.raises(RecipeError) as error:
        check(recipe)
    assert answer in str(error.value)


def test_a_directory_that_cannot_be_asked_for_is_said() -> None:
    with pytest.raises(RunError, match=r"is no recipe of pretraining: .*File name too long"):
        was_begun(GENERATED, Path("x" * 400))


def test_a_setting_that_there_is_not_is_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"a has no setting 'step'\. Did you mean 'steps'"):
        override(GENERATED, {"step": 3})


def test_a_directory_of_another_recipe_is_told_from_one_to_go_on_with(tmp_path: Path) -> None:
    assert not was_begun(GENERATED, tmp_path)
    (tmp_path / "recipe.json").write_text(to_json(GENERATED))
    assert was_begun(GENERATED, tmp_path)
    with pytest.raises(RunError, match=r"was begun with another recipe \(steps: 2000 -> 5\)"):
        was_begun(replace(GENERATED, steps=5), tmp_path)
    (tmp_path / "recipe.json").write_bytes(b"\xff{")
    with pytest.raises(RunError, match=r"recipe\.json is no recipe of pretraining"):
        was_begun(GENERATED, tmp_path)
