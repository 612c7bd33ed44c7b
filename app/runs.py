"""The whole story: images in, measured model out."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from app.backbones.weights import Provenance
from app.data.batches import measuring_batches, steps_per_epoch
from app.data.index import Index, changed_images, read_index, write_index
from app.data.kept import KeptImages
from app.errors import RunError
from app.evaluation.answers import answer, write_answers
from app.evaluation.metrics import measure
from app.files import whole_file
from app.manifest import build_manifest, check_same
from app.models import uncompiled
from app.preparation import prepare
from app.prepared import Prepared
from app.recipe import Recipe, check
from app.run_directory import Run, begun_run, new_run
from app.training import devices
from app.training.lessons import lessons
from app.working import logged, said_if_stopped

MEASURED = ("validation", "test")
_log = logging.getLogger("graft")


def run(recipe: Recipe, directory: Path | None = None, until: float = math.inf) -> Run:
    """Trains a recipe in its stages, measures the result, and leaves a run directory.

    Args:
        recipe: What to do.
        directory: Where; `runs/<recipe>/<date and time>` if None. A run of the same recipe
            that was begun there is gone on with from its last checkpoint.
        until: When training ends, by `time.monotonic()`, however far it has come.

    Raises:
        GraftError: If the recipe, its images, its weights or the directory will not do.
    """
    check(recipe)
    begun = begun_run(recipe, directory)
    if begun and begun.is_finished:
        _log.info("%s is finished: nothing is left to do", begun.directory)
        return begun
    started = begun or new_run(recipe, directory)
    with said_if_stopped(started.directory), started.locked(), logged(started.log):
        devices.set_up(recipe)  # first: threads can be set only until TensorFlow is at work
        if begun and started.model.is_file():
            evaluate(started)
            return started
        _complete(started, lambda: _go_on(started) if begun else _begin(started), until)
    return started


def complete(started: Run, make: Callable[[], Prepared]) -> None:
    """Trains what is left of a recipe whose checkpoints lie in a directory, and measures it.

    Args:
        started: Its directory has a `recipe.json`.
        make: Makes the recipe ready, on images that were divided before.

    Raises:
        GraftError: If it cannot be trained, or the directory cannot be written.
    """

    def recorded() -> Prepared:
        prepared = make()
        record(started, prepared.index, prepared.image_size, prepared.provenance)
        return prepared

    with started.locked(), logged(started.log):
        _complete(started, recorded, math.inf)


def _complete(started: Run, make: Callable[[], Prepared], until: float) -> None:
    # The scope holds for all of training: Keras refuses to mix what two scopes made.
    with devices.strategy_over(devices.gpus()):
        prepared = make()
        _train(started, prepared, until)
        save(started, prepared.model)
    # What several devices share is not asked outside of their scope: it is loaded anew.
    shared = len(devices.gpus()) > 1
    model = load_model(started) if shared else prepared.model
    _measure(started, model, prepared.index, prepared.image_size, prepared.kept)


def _begin(started: Run) -> Prepared:
    with _nothing_left_of_a_false_start(started):
        prepared = prepare(started.recipe)
        record(started, prepared.index, prepared.image_size, prepared.provenance)
    return prepared


def _go_on(started: Run) -> Prepared:
    """Takes up the images as they were divided, if the run had come that far.

    Raises:
        RunError: If images, weights or devices are not what they were.
    """
    if not started.has_manifest:
        return _begin(started)
    index = index_of(started)
    changed = changed_images(index.images)
    if changed:
        raise RunError(
            f"{len(changed)} images that {started.directory} was begun with are gone or"
            f" changed, such as {changed[0].path}: put them back as they were, or begin a new run"
        )
    prepared = prepare(started.recipe, index)
    now = build_manifest(started.recipe, index, prepared.image_size, prepared.provenance)
    check_same(started.directory, started.manifest, now)
    return prepared


def record(started: Run, index: Index, image_size: int, provenance: Provenance) -> None:
    """Writes what a run starts from: its splits and its manifest."""
    write_index(index, started.splits)
    started.write("manifest.json", build_manifest(started.recipe, index, image_size, provenance))


def save(started: Run, model: keras.Model) -> None:
    """Writes the trained model of a run, without the state of its optimizer."""
    with whole_file(started.model) as temporary:
        uncompiled(model).save(temporary)


def evaluate(finished: Run) -> dict[str, Any]:
    """Measures the model of a run, as it was written, on the images that its splits name.

    Returns:
        What `metrics.json` holds, by split.

    Raises:
        GraftError: If the run is not finished, its directory cannot be written, or its
            images are not what they were.
    """
    manifest = finished.manifest
    index = index_of(finished)
    changed = [image for name in MEASURED for image in changed_images(index.split(name))]
    if changed:
        raise RunError(
            f"{len(changed)} images that {finished.directory} was measured on are gone or"
            f" changed, such as {changed[0].path}: put them back as they were"
        )
    _measure(finished, load_model(finished), index, manifest["image_size"])
    return finished.metrics


def load_model(finished: Run) -> keras.Model:
    """Loads the trained model of a run: pixels in, logits out.

    Raises:
        RunError: If its training did not finish, or the file is damaged.
    """
    if not finished.model.is_file():
        raise RunError(f"{finished.directory} has no model.keras: its training did not finish")
    try:
        return keras.models.load_model(finished.model, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{finished.model} is damaged: {error}") from error


def index_of(run: Run) -> Index:
    """Reads the images of a run, as they were divided."""
    manifest = run.manifest
    # A run of an earlier version had one class an image, and did not say so.
    return read_index(run.splits, manifest["class_names"], manifest.get("many_labels", False))


def _train(started: Run, prepared: Prepared, until: float) -> None:
    trainer = prepared.trainer(started.directory, watched=True, until=until)
    trainer.train(started.recipe.stages)
    for sentence in lessons(trainer.history.rows, started.recipe):
        _log.info(sentence)


def _measure(
    of: Run, model: keras.Model, index: Index, size: int, kept: KeptImages | None = None
) -> None:
    """Measures validation and test, and writes metrics and every answer."""
    batch, metrics = of.recipe.data.batch_size, {}
    images = [image for name in MEASURED for image in index.split(name)]
    batches = measuring_batches(index, images, size, batch, kept=kept)
    steps, many = steps_per_epoch(len(images), batch), index.many_labels
    probabilities, labels = answer(model, batches, steps, "measuring", many)
    for name in MEASURED:
        of_split = [image.split == name for image in images]
        metrics[name] = measure(labels[of_split], probabilities[of_split], index.class_names)
    try:
        write_answers(of.predictions, index.class_names, images, probabilities, many)
        of.write("metrics.json", metrics)
    except OSError as error:
        raise RunError(f"{of.directory} cannot be written: {error.strerror}") from error
    for name in MEASURED:
        accuracy = metrics[name]["accuracy"]
        _log.info(
            "%s: %s %.3f (95 %% interval %.3f to %.3f) on %d images",
            name,
            "all labels right" if many else "accuracy",
            *(accuracy[key] for key in ("value", "low", "high")),
            metrics[name]["count"],
        )


@contextmanager
def _nothing_left_of_a_false_start(started: Run) -> Iterator[None]:
    """Takes the directory away again if training cannot even begin."""
    try:
        yield
    except BaseException:
        shutil.rmtree(started.directory, ignore_errors=True)
        raise
