"""The whole story of pretraining: images in, a backbone out that others can start from."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np

from app.backbones.backbone import Backbone
from app.backbones.build import build_backbone
from app.backbones.copying import copy_weights
from app.backbones.table import find_backbone
from app.backbones.weights import Provenance
from app.data.index import Image
from app.data.labelled import readable
from app.data.photographs import PHOTOGRAPHS, SOURCE, photographs
from app.data.sources import list_unlabelled
from app.errors import DataError, EngineError, RunError
from app.files import whole_file, write_whole
from app.manifest import check_same, surroundings
from app.models import uncompiled
from app.pretrain_recipe import Pretraining, check, generated_images, was_begun
from app.pretraining.descriptors import Descriptors, learn_descriptors, load_descriptors
from app.pretraining.fusing import copy_to_train
from app.pretraining.instances import Files, Instances, Regions
from app.pretraining.learning import Learning
from app.pretraining.networks import build_network
from app.pretraining.probing import Probe, read_probe
from app.pretraining.views import Views
from app.run_directory import new_place
from app.settings import to_json
from app.training import devices
from app.training.checkpoints import Checkpoints
from app.working import duration, locked, logged, said_if_stopped

# Images are read larger than views are, so that a narrow crop still shows details.
READ_LARGER = 1.5
# Views that descriptors are learned from.
LOOKED_AT = 4096
# Of a channel, in levels: images that differ by less are all alike.
_LEAST_DIFFERENCE = 2.0
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Pretrained:
    """One execution of pretraining.

    Attributes:
        directory: Everything about it lies in it.
        recipe: As it was run, overrides included.
    """

    directory: Path
    recipe: Pretraining

    @property
    def model(self) -> Path:
        """The backbone alone, a Keras model; there once all steps are taken."""
        return self.directory / "model.keras"


def pretrain(recipe: Pretraining, directory: Path | None = None) -> Pretrained:
    """Trains a backbone without labels, and leaves a directory that others start from.

    `graft train RECIPE --weights DIRECTORY` does.

    Args:
        recipe: What to do.
        directory: Where; `runs/<recipe>/<date and time>` if None. What was begun there with the
            same recipe is gone on with from its last checkpoint.

    Raises:
        GraftError: If the recipe, its images, its weights or the directory will not do, or if
            the features collapse.
    """
    check(recipe)
    begun = Pretrained(directory, recipe) if directory and was_begun(recipe, directory) else None
    if begun and begun.model.is_file():
        _log.info("%s is finished: nothing is left to do", begun.directory)
        return begun
    devices.set_up(recipe)  # first: threads can be set only until TensorFlow is at work
    if recipe.method == "byol" and keras.config.backend() != "tensorflow":
        raise EngineError("method is byol, which computes with TensorFlow: unset KERAS_BACKEND")
    backbone = find_backbone(recipe.backbone)
    size = recipe.data.image_size or backbone.image_size
    base, provenance = build_backbone(backbone, size, recipe.weights)
    instances, about = _instances(recipe, size)
    probe = read_probe(recipe.data.probe, size) if recipe.data.probe else None
    started = begun or Pretrained(new_place(recipe.name, to_json(recipe), directory), recipe)
    place = started.directory
    manifest = _manifest(recipe, size, provenance, about)
    with said_if_stopped(place), locked(place), logged(place / "log.txt"):
        _keep_manifest(place / "manifest.json", manifest)
        _learn(started, backbone, base, Views(recipe, size, instances), probe)
        with whole_file(started.model) as temporary:
            uncompiled(base).save(temporary)
    return started


def _learn(
    started: Pretrained, backbone: Backbone, base: keras.Model, views: Views, probe: Probe | None
) -> None:
    recipe, place = started.recipe, started.directory
    if recipe.descriptors:
        views = replace(views, descriptors=_descriptors(views, place / "descriptors.npz"))
    described = views.descriptors.width if views.descriptors else 0
    trained = copy_to_train(base)
    network = build_network(recipe, backbone, trained, described)
    learning = Learning(recipe, network, views, probe, Checkpoints(place / "checkpoints"), place)
    began = time.monotonic()
    learning.learn()
    copy_weights(trained, base)
    _log.info("pretraining took %s", duration(time.monotonic() - began))


def _descriptors(views: Views, file: Path) -> Descriptors:
    """Learns descriptors of the views, once: what is gone on with has to foretell the same.

    Raises:
        RunError: If there are checkpoints, but not what they learned to foretell.
    """
    if not file.is_file():
        if Checkpoints(file.parent / "checkpoints").latest():
            raise RunError(f"{file} is missing: begin again in a new directory")
        _log.info("learning what views differ in, on %d of them", LOOKED_AT)
        batches = views.batches(0, -(-LOOKED_AT // views.rows)).as_numpy_iterator()
        pixels = np.concatenate([pixels for pixels, _ in batches])
        learn_descriptors(pixels, views.recipe.seed).save(file)
    try:
        return load_descriptors(file)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise RunError(f"{file} is damaged: {error}; begin again in a new directory") from error


def _instances(recipe: Pretraining, size: int) -> tuple[Instances | None, dict[str, Any]]:
    """Finds the images to tell apart, and says what they are."""
    source = recipe.data.source
    if not source:
        return None, {"source": "generated"}
    if source == SOURCE:
        known = [vars(each) for each in PHOTOGRAPHS]
        return Regions(photographs(), recipe.seed), {"source": source, "photographs": known}
    listing = list_unlabelled(source)
    for note in listing.notes:
        _log.info("%s: %s", listing.root, note)
    images = readable(listing)
    asked = recipe.data.batch_size - generated_images(recipe.data)
    if len(images) < max(asked, 2):
        raise DataError(
            f"{listing.root} has {len(images)} different images, and a step takes {asked}:"
            " lower data.batch_size, or raise data.generated"
        )
    files = Files(images, round(size * READ_LARGER))
    _check_differences(files, images, str(listing.root))
    _log.info("%s: %d images", listing.root, len(images))
    # In their order, by which they are numbered.
    contents = hashlib.sha256("".join(image.sha256 for image in images).encode()).hexdigest()
    return files, {"source": source, "images": len(images), "fingerprint": contents}


def _check_differences(files: Files, images: Sequence[Image], root: str) -> None:
    """Looks at some of the images: such as are all alike teach nothing."""
    some = np.arange(0, len(images), max(len(images) // 32, 1), dtype=np.int64)
    pixels = np.stack(files.images(some)).astype(np.float32)
    if pixels.std(axis=0).mean() < _LEAST_DIFFERENCE:
        raise DataError(f"the images of {root} are all alike: there is nothing to tell apart")


def _manifest(
    recipe: Pretraining, size: int, provenance: Provenance, about: dict[str, Any]
) -> dict[str, Any]:
    return {
        "backbone": recipe.backbone,
        "image_size": size,
        "weights": vars(provenance),
        "data": about,
        **surroundings(),
    }


def _keep_manifest(file: Path, manifest: dict[str, Any]) -> None:
    """Writes what learning starts from; what is gone on with has to start from the same.

    Raises:
        RunError: If it does not, or if precision, engine or GPUs are others.
    """
    text = json.dumps(manifest, indent=2) + "\n"
    if not file.is_file():
        write_whole(file, text)
        return
    try:
        before, now = json.loads(file.read_text("utf-8")), json.loads(text)
        same_images = before["data"] == now["data"]
        check_same(file.parent, before, now)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged: {error}; begin again in a new directory") from error
    if not same_images:
        raise RunError(
            f"{file.parent} was begun with other images than there are now: put them back as they"
            " were, or name a new directory with --run-dir"
        )
