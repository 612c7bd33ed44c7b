"""What recipes and the command line do with a run; TensorFlow loads when one is called."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from app import engines
from app.exports.request import Request, to_words
from app.recipe import Recipe, check
from app.run_directory import Run, check_place
from app.working import talk_held_back


def run(recipe: Recipe, directory: Path | None = None) -> Run:
    """Trains a recipe, measures the result and leaves a run directory; see `app.runs.run`.

    What can be known to fail is said before TensorFlow takes its seconds to load.
    """
    check(recipe)
    check_place(recipe, directory)
    check_ready(recipe)
    finished: Run = load("app.runs").run(recipe, directory)
    return finished


def evaluate(finished: Run) -> dict[str, Any]:
    """Measures the model of a run again, by split; see `app.runs.evaluate`."""
    metrics: dict[str, Any] = load("app.runs").evaluate(finished)
    return metrics


def export(
    finished: Run, output: Path = Path("saved_models"), request: Request | None = None
) -> Path:
    """Writes the model of a run as a SavedModel, and what else is asked for.

    See `app.exporting.export`.
    """
    request = request or Request()
    if engines.loaded() == "jax":
        return engines.export_beside(finished.directory, output, to_words(request))
    exporting = load("app.exporting", engine="tensorflow")
    version: Path = exporting.export(finished, output, request)
    return version


def check_ready(recipe: Recipe) -> None:
    """Makes sure that backbone, weights and images are there, as far as can be told quickly.

    Raises:
        GraftError: If one is not.
    """
    check_backbone(recipe.backbone, recipe.weights, recipe.data.image_size)
    check_source(recipe.data.source)


def check_backbone(name: str, weights: str, image_size: int | None) -> None:
    """Makes sure that a backbone, its weights and the size of its images are possible.

    Raises:
        GraftError: If one is not.
    """
    from app.backbones.backbone import check_size
    from app.backbones.table import find_backbone
    from app.backbones.weights import embedded_file, given_file, is_embedded

    backbone = find_backbone(name)
    check_size(backbone, image_size or backbone.image_size)
    if is_embedded(weights):
        embedded_file(backbone, weights)
    elif weights not in ("imagenet", "none"):
        given_file(weights)


def check_source(source: str) -> None:
    """Lists a folder only if it is none, to say so: a large one is listed once, later.

    Raises:
        DataError: If it is none.
    """
    from app.data.sources import list_images

    with suppress(OSError, RuntimeError):  # such as a name that is too long, or ~nobody
        if source.startswith(("tfds:", "sklearn:")):
            return
        if source and Path(source).expanduser().is_dir():
            return
    list_images(source)


def load_steps() -> Any:
    """Loads `app.steps`: what a run consists of, for scripts that take it step by step."""
    return load("app.steps")


def load(module: str, without_keras: bool = False, engine: str | None = None) -> Any:
    """Imports a module that needs TensorFlow, without TensorFlow's talk of drivers.

    Its C++ side writes some lines to standard error before it reads any setting that
    could silence them. They are held back, and shown only if the import fails. Keras, if
    it was not imported before, does without what it has for scikit-learn and matplotlib.

    Args:
        module: Its name.
        without_keras: TensorFlow imports Keras when it starts, if it is there: 3.3 CPU
            seconds instead of 2.0. A process that needs none is spared that.
        engine: What Keras has to compute with; what the user chose if None.

    Raises:
        GraftError: If Keras cannot compute with what was chosen.
    """
    if without_keras:
        # None keeps a module from being imported; one that is loaded already stays.
        sys.modules.setdefault("keras", cast(ModuleType, None))
    else:
        engines.settle(engine)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with talk_held_back():
        if not without_keras:
            _import_keras()
        return importlib.import_module(module)


def _import_keras() -> None:
    """Imports Keras without scikit-learn and matplotlib: 2.5 CPU seconds instead of 3.3.

    It wants them for wrappers and pictures that graft has no use for. Whoever imports them
    later gets them.
    """
    spared = [name for name in ("sklearn", "matplotlib") if name not in sys.modules]
    for name in spared:
        sys.modules[name] = cast(ModuleType, None)
    try:
        importlib.import_module("keras")
    finally:
        for name in spared:
            del sys.modules[name]
