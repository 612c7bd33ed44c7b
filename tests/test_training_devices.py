"""Precision, compiler, and one batch shared by several devices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from app import Recipe, Run, override, run
from app.errors import DataError
from app.settings import to_json
from app.training import devices

SHARED = """
import sys
from pathlib import Path

import tensorflow as tf

count = int(sys.argv[2])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)

from app.recipe_file import load_recipe_file
from app.runs import run
from app.training import devices

devices.gpus = lambda: [f"CPU:{number}" for number in range(count)]
run(load_recipe_file(Path(sys.argv[1])).recipe, Path("shared"))
"""

AHEAD = """
import sys
from pathlib import Path

import keras
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from app.recipe_file import load_recipe_file
from app.runs import run
from app.training import devices, stages

devices.gpus = stages.gpus = lambda: ["CPU:1"]
fit = keras.Model.fit


def look(model, batches, **options):
    print(model.steps_per_execution, *(each.device for each in next(iter(batches))))
    return fit(model, batches, **options)


keras.Model.fit = look
run(load_recipe_file(Path(sys.argv[1])).recipe, Path("ahead"))
"""


def test_precision_is_mixed_on_a_gpu_and_full_elsewhere() -> None:
    assert devices.precision("auto", 1) == "mixed_float16"
    assert devices.precision("auto", 0) == "float32"
    assert devices.precision("mixed_bfloat16", 0) == "mixed_bfloat16"


def test_xla_compiles_on_one_gpu_that_need_not_repeat_itself() -> None:
    exact = Recipe(name="exact")
    quick = override(exact, {"deterministic": False})
    assert devices.jit_compile(quick, 1)
    assert not devices.jit_compile(exact, 1)
    assert not devices.jit_compile(quick, 0)
    assert not devices.jit_compile(quick, 2)
    assert devices.jit_compile(override(quick, {"jit_compile": True}), 0)
    assert not devices.jit_compile(override(quick, {"jit_compile": False}), 1)


def test_steps_at_once_divide_an_epoch_and_only_one_gpu_makes_several() -> None:
    found = {steps: devices.steps_at_once(steps, 1) for steps in (1, 6, 16, 17, 32, 42, 100)}
    assert found == {1: 1, 6: 6, 16: 16, 17: 1, 32: 16, 42: 14, 100: 10}
    assert devices.steps_at_once(32, 2) == 1
    assert devices.steps_at_once(32, 0) == 1


def test_batches_are_left_where_they_are_without_one_device_alone() -> None:
    batches = tf.data.Dataset.range(3)
    assert devices.sent_ahead(batches, []) is batches
    assert devices.sent_ahead(batches, ["GPU:0", "GPU:1"]) is batches


@pytest.mark.slow
def test_a_device_beside_the_cpu_gets_its_batches_ahead_and_makes_several_steps_at_once(
    tiny: Recipe, finished: Run, python: Callable, tmp_path: Path
) -> None:
    """A second logical device of the CPU stands in for a GPU; its result is that of one alone."""
    # From images, as `finished` learned from features: these are rounded to float16.
    recipe = override(tiny, {"precision": "float32", "jit_compile": False, "cache": False})
    (tmp_path / "recipe.json").write_text(to_json(recipe))
    (tmp_path / "ahead.py").write_text(AHEAD)
    done = python("ahead.py", "recipe.json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(done.stdout.split()) == {"6", "/job:localhost/replica:0/task:0/device:CPU:1"}
    ahead = json.loads((tmp_path / "ahead/metrics.json").read_text())
    assert ahead["test"]["loss"] == pytest.approx(finished.metrics["test"]["loss"], abs=0.02)


def test_three_devices_share_a_run_to_the_result_of_one(
    tiny: Recipe, python: Callable, tmp_path: Path
) -> None:
    """Three into batches of 7, and into 9 validation images, leave remainders."""
    # Without dropout and BatchNorm's statistics, how a batch is divided changes nothing.
    same = {"precision": "float32", "jit_compile": False, "preset": "none", "dropout": 0.0}
    recipe = override(tiny, {**same, "batch_size": 7})
    (tmp_path / "recipe.json").write_text(to_json(recipe))
    (tmp_path / "shared.py").write_text(SHARED)
    done = python("shared.py", "recipe.json", "3")
    assert done.returncode == 0, done.stderr[-2000:]
    shared = json.loads((tmp_path / "shared/metrics.json").read_text())
    alone = run(recipe, tmp_path / "alone").metrics
    assert shared["test"]["loss"] == pytest.approx(alone["test"]["loss"], abs=0.05)
    assert shared["test"]["count"] == alone["test"]["count"] == 9


def test_more_devices_than_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpus", lambda: ["GPU:0", "GPU:1"])
    devices.check_shares({"train": 9, "validation": 2})
    with pytest.raises(DataError, match="1 validation images cannot be shared by 2 GPUs"):
        devices.check_shares({"train": 9, "validation": 1})
