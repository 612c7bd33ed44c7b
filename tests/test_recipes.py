"""Every shipped recipe: loaded, shrunk, trained from what graft ships, and asked."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app import Pretraining, Recipe, Run, export, override, run
from app.backbones.blocks import base_of
from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.exports.prediction import Export
from app.pretrain_recipe import override as override_pretraining
from app.pretraining.running import pretrain
from app.recipe_file import RecipeFile, load_pretraining_file, load_recipe_file
from app.runs import load_model
from app.settings import from_json, leaves, to_json
from tests.conftest import ROOT

ALL = sorted((ROOT / "recipes").glob("*.py"))
RECIPES = [path for path in ALL if not path.stem.startswith("pretrain_")]
PRETRAININGS = [path for path in ALL if path not in RECIPES]
SHRUNK = {
    "image_size": 32,
    "batch_size": 16,
    "epochs": 1,
    "data.validation_fraction": 0.15,
    "data.test_fraction": 0.15,
    "backbone": "embedded",
}
parametrised = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
of_all = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)


def loaded(path: Path) -> RecipeFile[Recipe] | RecipeFile[Pretraining]:
    return load_recipe_file(path) if path in RECIPES else load_pretraining_file(path)


def test_the_recipes_of_the_readme_are_all_there() -> None:
    for path in ALL:
        assert f"[{path.name}](recipes/{path.name})" in (ROOT / "README.md").read_text()
    names = {path.stem for path in RECIPES}
    assert names == {"cats_vs_dogs", "digits", "fine_tune", "flowers", "folder", "step_by_step"}
    names = {path.stem.removeprefix("pretrain_") for path in PRETRAININGS}
    assert names == {"embedded", "generated", "unlabelled"}


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Notes of each stage whether it left the statistics of frozen BatchNorm as they were."""
    fit, found = keras.Model.fit, []

    def watched(model: keras.Model, *arguments: Any, **options: Any) -> Any:
        frozen = [layer for layer in normalising(model) if not layer.trainable]
        before = [statistics(layer) for layer in frozen]
        history = fit(model, *arguments, **options)
        found.append(before == [statistics(layer) for layer in frozen])
        return history

    monkeypatch.setattr(keras.Model, "fit", watched)
    return found


def normalising(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    layers = base_of(model).layers
    return [each for each in layers if isinstance(each, keras.layers.BatchNormalization)]


def statistics(layer: keras.layers.BatchNormalization) -> list[bytes]:
    return [np.asarray(each).tobytes() for each in (layer.moving_mean, layer.moving_variance)]


@parametrised
def test_a_recipe_is_trained_and_can_be_asked(
    path: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: list[bool]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = load_recipe_file(path)
    small = override(file.recipe, {**SHRUNK, "data.source": str(photos)})
    finished = (file.run or run)(small, tmp_path / "run")
    assert isinstance(finished, Run)
    assert finished.metrics["test"]["count"] == 9
    if file.run:  # the others leave what `graft train` leaves, which is exported elsewhere
        folder = Path("saved_models", path.stem)
        exported = folder if folder.exists() else export(finished)
        (answer,) = Export(exported).predict(finished.test_images()[:1])
        assert answer.label in finished.manifest["class_names"]
    trained = 2 if path.stem == "digits" else 1  # again from random weights
    assert stages == [True] * trained * len(small.stages)
    if not any(stage.train_batch_norm for stage in small.stages.values()):
        shipped, _ = build_backbone(find_backbone("compact"), 32, "embedded")
        found = {each.name: each for each in normalising(load_model(finished))}
        for layer in shipped.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                assert statistics(found.pop(layer.name)) == statistics(layer)
        assert not found


@pytest.mark.parametrize("path", PRETRAININGS, ids=lambda path: path.stem)
def test_a_backbone_is_pretrained_and_a_recipe_starts_from_it(
    path: Path, photos: Path, tiny: Recipe, tmp_path: Path
) -> None:
    if path.stem == "pretrain_embedded":
        pytest.importorskip("skimage", reason="of the extra `pretraining`")
    recipe = load_pretraining_file(path).recipe
    changes = {"image_size": 32, "batch_size": 4, "steps": 2}
    if path.stem == "pretrain_unlabelled":
        changes["source"] = str(photos)
    done = pretrain(override_pretraining(recipe, changes), tmp_path / "pretrained")
    finished = run(override(tiny, {"weights": str(done.directory)}), tmp_path / "run")
    assert finished.manifest["weights"]["source"] == str(done.directory)


@of_all
def test_a_recipe_is_short_and_says_how_to_run_it(path: Path) -> None:
    text = path.read_text()
    # Those with a `run` of their own tell more than a recipe has to.
    assert len(text.splitlines()) <= (80 if "def run(" in text else 45)
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert f"recipes/{path.name}" in docstring


@of_all
def test_a_recipe_is_named_after_its_file_and_travels_as_json(path: Path) -> None:
    recipe = loaded(path).recipe
    assert recipe.name == path.stem
    assert from_json(type(recipe), to_json(recipe)) == recipe
    assert all(not isinstance(leaf.value, list | dict) for leaf in leaves(recipe).values())


@of_all
def test_a_recipe_hands_its_own_run_to_main(path: Path) -> None:
    """Else the script would do something else than `graft train`, which finds `run` itself."""
    has_run = loaded(path).run is not None
    calls = [line.strip() for line in path.read_text().splitlines() if "main(recipe" in line]
    assert calls == ["main(recipe, run=run)" if has_run else "main(recipe)"]
