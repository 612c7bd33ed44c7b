"""Training that JAX computes, in processes of its own: resumed, exported, measured, refused."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from app import Augmentation, Head, Recipe, Stage, override
from app.recipe import Data
from app.settings import to_json

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None,
        reason="JAX is not installed: pip install -e '.[jax]'",
    ),
]
JAX = {**os.environ, "KERAS_BACKEND": "jax"}
GRAFT = [sys.executable, "-c", "from app.cli import graft; graft()"]

EXPORT_AFTERWARDS = """
from pathlib import Path

from app import export
from app.recipe_file import load_recipe_file
from app.run_directory import open_finished_run
from app.verbs import load

assert load("keras").config.backend() == "jax"
print(export(open_finished_run(Path("run"))))
"""

IN_TWO_WAYS = """
import json
from pathlib import Path

from app import override, run
from app.recipe_file import load_recipe_file

recipe = load_recipe_file(Path("recipe.json")).recipe
finished = [run(override(recipe, {"cache": cache}), Path(str(cache))) for cache in (False, True)]
print(json.dumps([each.metrics["validation"]["loss"] for each in finished]))
"""

OPTIMIZERS = """
import keras
import numpy as np

from app.recipe import Stage
from app.training.optimizers import build_optimizer

random = np.random.default_rng(0)
inputs, targets = random.normal(size=(8, 3)), random.normal(size=(8, 2))
for name in ("momentum", "nesterov", "adamw", "nadam", "lion"):
    layer = keras.layers.Dense(2, name="layer")
    model = keras.Sequential([keras.Input((3,)), layer])
    kernel = np.array(layer.kernel, "float64")
    stage = Stage(
        optimizer=name, learning_rate=0.1, schedule="one_cycle", epochs=2, weight_decay=0.01,
        accumulate_steps=1 + (name == "adamw"), weight_average="ema",
    )
    factors = {layer.kernel.path: 0.5}
    model.compile(build_optimizer(stage, 4, factors), loss="mse", jit_compile=True)
    model.train_on_batch(inputs, targets)
    error = inputs @ kernel - targets
    expected = [np.linalg.norm(inputs.T @ error / 8), np.linalg.norm(error.sum(0) / 8)]
    np.testing.assert_allclose(np.array(model.optimizer.gradient_norms), expected, rtol=1e-5)
    assert not np.array(model.optimizer.first_bad).any()
    model.train_on_batch(inputs, targets)
    model.train_on_batch(inputs, targets * np.nan)
    assert np.array(model.optimizer.first_bad).all(), name
    assert np.isfinite(np.array(model.optimizer.gradient_norms)).all(), name
print("noted")
"""


@pytest.fixture(scope="module")
def recipe(photos: Path) -> Recipe:
    """All that looks on or has a state of its own; the second stage trains above a boundary."""
    return Recipe(
        name="with_jax",
        data=Data(source=str(photos), image_size=32, batch_size=8),
        checkpoint_steps=4,  # of 6 an epoch
        augmentation=Augmentation("medium"),
        backbone="compact",
        weights="none",
        head=Head(units=(16,), batch_norm=True, dropout=0.4),
        stages={
            "warm_up": Stage(
                epochs=1, learning_rate=1e-2, weight_average="ema", accumulate_steps=2
            ),
            "fine_tune": Stage(
                epochs=2,
                unfreeze="top:2",
                learning_rate=3e-3,
                schedule="plateau",
                plateau_patience=1,
                warmup_epochs=1.0,
                weight_average="swa",
                swa_start="40%",
            ),
        },
    )


def train(folder: Path, recipe: Recipe, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "recipe.json").write_text(to_json(recipe))
    return called(folder, *GRAFT, "train", "recipe.json", *arguments)


def python(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return called(folder, sys.executable, "-c", script)


def called(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=JAX,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def weights(run: Path) -> str:
    """The hash of every weight of the finished model."""
    found = hashlib.sha256()
    for weight in keras.models.load_model(run / "model.keras", compile=False).get_weights():
        found.update(weight.tobytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def trained(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished `run`; read only."""
    folder = tmp_path_factory.mktemp("jax")
    done = train(folder, recipe, "--run-dir", "run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "KERAS_BACKEND says jax: that computes the steps" in done.stderr
    assert "what its frozen blocks make of 42 images, in 2 views, is computed once" in done.stderr
    return folder


def test_a_run_killed_within_an_epoch_goes_on_to_the_same_bits(
    trained: Path, recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "recipe.json").write_text(to_json(recipe))
    process = subprocess.Popen(
        [*GRAFT, "train", "recipe.json", "--run-dir", "run"],
        cwd=tmp_path,
        env=JAX,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ends = time.monotonic() + 300
    # The fourth step of the first epoch of the second stage.
    while not (within := tmp_path / "run/checkpoints/00000008.npz").exists():
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.005)
    process.kill()
    process.wait()
    for later in within.parent.glob("*.npz"):
        later.unlink() if later > within else None
    done = train(tmp_path, recipe, "--resume", "run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "after epoch 0 of stage fine_tune, step 2 of the next" in done.stderr
    assert weights(tmp_path / "run") == weights(trained / "run")


def test_features_teach_the_same_as_images(tiny: Recipe, tmp_path: Path) -> None:
    """But for the noise of float16, and with the same draws of dropout."""
    (tmp_path / "recipe.json").write_text(to_json(override(tiny, {"fine_tune.epochs": 1})))
    done = python(tmp_path, IN_TWO_WAYS)
    assert done.returncode == 0, done.stderr[-3000:]
    from_images, from_features = json.loads(done.stdout)
    assert from_features != from_images
    assert from_features == pytest.approx(from_images, rel=0.02)


def test_what_jax_trained_is_exported_by_tensorflow_and_answers_alike(trained: Path) -> None:
    done = python(trained, EXPORT_AFTERWARDS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "saved_models/with_jax/1\n"
    rows = [line.split(",") for line in (trained / "run/predictions.csv").read_text().splitlines()]
    files = [row[0] for row in rows[1:]]
    asked = subprocess.run(
        [*GRAFT, "predict", "saved_models/with_jax", *files],
        cwd=trained,
        env=JAX,
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [line.split(",") for line in asked.stdout.splitlines()[1:]]
    assert [answer[0] for answer in answers] == files
    expected = np.array([row[4:] for row in rows[1:]], "float64")
    found = np.array([answer[4:] for answer in answers], "float64")
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_run_of_another_engine_is_not_gone_on_with(
    trained: Path, recipe: Recipe, tmp_path: Path
) -> None:
    begun = tmp_path / "run"
    begun.mkdir()
    for path in ("recipe.json", "manifest.json", "splits.csv"):
        (begun / path).write_bytes((trained / "run" / path).read_bytes())
    manifest = json.loads((begun / "manifest.json").read_text())
    assert manifest["engine"] == "jax"
    (begun / "manifest.json").write_text(json.dumps({**manifest, "engine": "tensorflow"}))
    done = train(tmp_path, recipe, "--resume", "run")
    assert done.returncode == 2
    assert "was begun with other engine (tensorflow -> jax)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_loss_that_diverges_is_stopped_and_its_gradient_named(
    recipe: Recipe, tmp_path: Path
) -> None:
    stages = {"learning_rate": 1000.0, "optimizer": "nesterov", "accumulate_steps": 1}
    wild = override(recipe, {**stages, "schedule": "constant", "weight_average": "none"})
    done = train(tmp_path, override(wild, {"weight_decay": 1.0}), "--run-dir", "run")
    assert done.returncode == 2
    assert "was stopped: its loss" in done.stderr
    assert "the largest gradient was" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_learning_rate_is_found_and_a_diagnosis_is_made_with_tensorflow(
    tiny: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "recipe.json").write_text(to_json(tiny))
    said = {}
    for command in ("find-lr", "diagnose"):
        said[command] = subprocess.run(
            [*GRAFT, command, "recipe.json"],
            cwd=tmp_path,
            env=JAX,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in said[command].stderr, said[command].stderr[-3000:]
    assert "the loss falls most steeply at a learning rate of" in said["find-lr"].stdout
    assert "KERAS_BACKEND says jax; this is done with tensorflow" in said["diagnose"].stderr
    assert "gradients against central differences" in said["diagnose"].stdout


def test_optimizers_note_the_norms_of_gradients(tmp_path: Path) -> None:
    done = python(tmp_path, OPTIMIZERS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "noted\n"
