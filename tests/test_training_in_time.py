"""Training ends when its time is over, with the best weights, and can be gone on with."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import numpy as np
import pytest

from app import Recipe
from app.preparation import prepare
from app.recipe import override


def test_when_time_is_over_the_stage_ends_and_later_ones_are_left_out(
    tiny: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graft")
    recipe = override(tiny, {"epochs": 3, "cache": False})
    prepared = prepare(recipe)
    before = [np.array(weight) for weight in prepared.model.weights]
    trainer = prepared.trainer(tmp_path, until=time.monotonic())
    trainer.train(recipe.stages)
    assert [row["stage"] for row in trainer.history.rows] == ["warm_up"]
    assert math.isfinite(trainer.best.best_loss)
    assert any((now != was).any() for now, was in zip(trainer.best.arrays, before, strict=True))
    assert "the time is over: the stage ends, and its best weights are kept" in caplog.text
    assert "the time is over: left out: stage fine_tune" in caplog.text
    # Of six batches the first was trained on: what is counted as an epoch was cut short.
    assert int(prepared.model.optimizer.iterations) == 1

    caplog.clear()
    again = prepare(recipe).trainer(tmp_path)
    again.train(recipe.stages)
    assert [row["stage"] for row in again.history.rows] == ["warm_up", *["fine_tune"] * 3]
    assert "going on from the checkpoint after epoch 1 of stage warm_up" in caplog.text
