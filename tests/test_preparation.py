"""Recipes made ready one after the other, as trials of a search are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app import Recipe
from app.preparation import prepare
from app.prepared import Prepared
from app.recipe import override

HEAD_ALONE = {"fine_tune.unfreeze": "head", "fine_tune.epochs": 1}


def trained(prepared: Prepared, directory: Path) -> list[np.ndarray]:
    prepared.trainer(directory).train(prepared.recipe.stages)
    return [np.array(weight) for weight in prepared.model.weights]


def test_a_backbone_that_stayed_as_it_was_is_taken_over_and_trains_to_the_same_weights(
    tiny: Recipe, tmp_path: Path
) -> None:
    first = override(tiny, HEAD_ALONE)
    second = override(first, {"learning_rate": 3e-3, "head.dropout": 0.3})
    before = prepare(first)
    trained(before, tmp_path / "first")
    after, alone = prepare(second, before.index, before), prepare(second)
    assert after.base is before.base
    assert alone.base is not before.base
    ours, theirs = trained(after, tmp_path / "after"), trained(alone, tmp_path / "alone")
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),  # its blocks were trained
        (HEAD_ALONE, {"seed": 1}),  # its first weights are drawn
        (HEAD_ALONE, {"data.image_size": 40}),
        (HEAD_ALONE, {"precision": "mixed_float16"}),
    ],
)
def test_a_backbone_that_would_begin_otherwise_is_built_anew(
    first: dict[str, object], second: dict[str, object], tiny: Recipe
) -> None:
    before = prepare(override(tiny, first))
    after = prepare(override(tiny, second), before.index, before)
    assert after.base is not before.base
