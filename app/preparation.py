"""A recipe made ready for work: its images looked at, its model built."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.backbones.backbone import Backbone
from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.backbones.weights import Provenance
from app.data.augmentation import Augmenter
from app.data.batches import measuring_batches, steps_per_epoch, training_batches
from app.data.index import Index, build_index, summary
from app.data.kept import KEPT_BYTES, KeptImages
from app.data.looking import Seen
from app.data.mixing import Mixing
from app.data.sources import list_images
from app.data.views import view_batches
from app.features.cutting import Cut, cut, cut_below
from app.heads import NORMALIZED
from app.models import build_model, unfreeze
from app.recipe import Recipe, Stage
from app.training import devices
from app.training.boundary import Boundary
from app.training.callbacks import History, KeepBest
from app.training.checkpoints import Checkpoints
from app.training.learner import Learner
from app.training.losses import Task
from app.training.normalizing import Moments, normalize
from app.training.stages import Trainer
from app.training.watching import Watch

# How many validation images tell of dead and saturated units.
WATCHED_IMAGES = 8
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Prepared:
    """Everything that training a recipe needs.

    Attributes:
        recipe: What to do.
        backbone: The one that it names.
        image_size: Side of the images in pixels.
        index: Its images, looked at and divided.
        model: Freshly built: pixels in, logits out.
        provenance: Where the backbone's weights came from.
        base: The built backbone in the model.
        seen: The images as they were looked at, if they were just now, and fit in memory.
    """

    recipe: Recipe
    backbone: Backbone
    image_size: int
    index: Index
    model: keras.Model
    provenance: Provenance
    base: keras.Model
    seen: Seen | None = None

    @property
    def task(self) -> Task:
        """What is to be learned from how many images."""
        return task_of(self.index)

    @cached_property
    def kept(self) -> KeptImages:
        """The images, in memory while they fit: those first that are read most often."""
        order = ("validation", "train", "test")
        images = [image for split in order for image in self.index.split(split)]
        return KeptImages(images, self.image_size, seen=self.seen)

    @property
    def steps(self) -> int:
        """Training batches an epoch."""
        return steps_per_epoch(self._count("train"), self.recipe.data.batch_size, _devices())

    def training(
        self, first_epoch: int, epochs: int, first_step: int = 0, views: int = 0
    ) -> tf.data.Dataset:
        """Returns the varied batches of some epochs, counted from the start of the run.

        Args:
            first_epoch: Where to begin.
            epochs: How many from there.
            first_step: Steps of the first epoch that are left out.
            views: How many of each image the epochs walk through; a new one each epoch if 0.
        """
        recipe = self.recipe
        mixing = Mixing(recipe.augmentation, recipe.seed)
        return training_batches(
            self.index,
            self._augmenter(),
            self.image_size,
            recipe.data.batch_size,
            recipe.seed,
            first_epoch=first_epoch,
            epochs=epochs,
            devices=_devices(),
            mixing=mixing if mixing.mixes else None,
            first_step=first_step,
            views=views,
            kept=self.kept,
        )

    @contextmanager
    def learner(self, name: str, stage: Stage) -> Iterator[Learner]:
        """Yields what a stage fits: what is above the frozen boundary, or all on images.

        Args:
            name: Of the stage.
            stage: The blocks that it trains are unfrozen.
        """
        self.normalize()
        boundary = self._boundary(cut(self.model))
        mixes = Mixing(self.recipe.augmentation, self.recipe.seed).mixes
        views = 0 if mixes and stage.views == "auto" else boundary.views(stage)
        with ExitStack() as within:
            above = None
            if may_cache(self.recipe):
                above = boundary.learner(name, views, within)
            training = partial(self.training, views=views)
            yield above or Learner(self.model, training, self.validation())

    def normalize(self) -> None:
        """Sets the statistics of a head that normalises its features, if it has none yet."""

        def features() -> Moments:
            below = self._boundary(cut_below(self.model, NORMALIZED))
            return below.moments(may_cache(self.recipe))

        normalize(self.model, features)

    def _boundary(self, divided: Cut | None) -> Boundary:
        recipe, augmenter = self.recipe, self._augmenter()
        batch, seed = recipe.data.batch_size, recipe.seed
        of = divided, recipe.backbone, self.image_size, self.index
        return Boundary(*of, augmenter, batch, seed, self.kept)

    def _augmenter(self) -> Augmenter:
        return Augmenter(self.recipe.augmentation, self.image_size, self.recipe.seed)

    def validation(self) -> tf.data.Dataset:
        """Returns the batches that choose the best weights."""
        images = self.index.split("validation")
        batch = self.recipe.data.batch_size
        return measuring_batches(self.index, images, self.image_size, batch, _devices(), self.kept)

    def trainer(self, directory: Path, watched: bool = False, until: float = math.inf) -> Trainer:
        """Makes what trains the model in stages.

        Args:
            directory: For `history.csv` and `checkpoints/`, from which training goes on.
            watched: Whether TensorBoard is told, in `tensorboard/`.
            until: When training ends, by `time.monotonic()`.
        """
        checkpoints = Checkpoints(directory / "checkpoints")
        history = History(directory / "history.csv")
        pixels = self._first_pixels(WATCHED_IMAGES) if watched else None

        def watching(stage: Stage) -> list[Watch]:
            if pixels is None:
                return []
            folder, every = directory / "tensorboard", stage.accumulate_steps
            return [Watch(self.model, folder, history, pixels, every)]

        return Trainer(
            model=self.model,
            backbone=self.backbone,
            task=self.task,
            steps=self.steps,
            learner=self.learner,
            jit_compile=devices.jit_compile(self.recipe, len(devices.gpus())),
            at_once=devices.steps_at_once(self.steps, len(devices.gpus())),
            checkpoints=checkpoints,
            history=history,
            best=KeepBest(self.model),
            checkpoint_steps=self.recipe.checkpoint_steps,
            watching=watching,
            until=until,
        )

    def _first_pixels(self, count: int) -> NDArray[np.uint8]:
        images = self.index.split("validation")[:count]
        (pixels,) = view_batches(images, 0, None, self.image_size, count, self.kept)
        found: NDArray[np.uint8] = pixels.numpy()
        return found

    def _count(self, split: str) -> int:
        return len(self.index.split(split))


def prepare(recipe: Recipe, index: Index | None = None, before: Prepared | None = None) -> Prepared:
    """Sets up the devices, looks at the images and builds the model of a recipe.

    Args:
        recipe: What to do.
        index: The images, if they were looked at and divided before.
        before: A recipe whose model is not needed any more: a backbone that stayed as it was
            is taken over, which saves building it anew.

    Raises:
        GraftError: If the images, the backbone or its weights will not do.
    """
    backbone = find_backbone(recipe.backbone)
    size = recipe.data.image_size or backbone.image_size
    devices.set_up(recipe)  # first: threads can be set only until TensorFlow is at work
    listing, seen = list_images(recipe.data.source) if index is None else None, None
    if before and _has_the_same_base(before, recipe, size):
        base, provenance = before.base, before.provenance
    else:
        base, provenance = build_backbone(backbone, size, recipe.weights)
    _say_what(backbone, provenance, size, recipe)
    if listing is not None:
        data = recipe.data
        fits = len(listing.files) * size * size * 3 <= KEPT_BYTES
        seen = Seen(size) if fits else None
        shares = data.validation_fraction, data.test_fraction
        index = build_index(listing, *shares, recipe.seed, seen)
        _log.info("%s: %s", data.source, summary(index))
    assert index is not None
    devices.check_shares({s: len(index.split(s)) for s in ("train", "validation")})
    model = build_classifier(recipe, backbone, base, task_of(index))
    for stage in recipe.stages.values():  # an unknown block is better said now than later
        unfreeze(model, backbone, stage.unfreeze)
    return Prepared(recipe, backbone, size, index, model, provenance, base, seen)


def _has_the_same_base(before: Prepared, recipe: Recipe, size: int) -> bool:
    """Tells whether a backbone is the one that another recipe begins with."""
    old = before.recipe
    trained = any(stage.unfreeze != "head" for stage in old.stages.values())
    drawn = recipe.weights == "none" and old.seed != recipe.seed
    wanted = recipe.backbone, recipe.weights, size, keras.config.dtype_policy().name
    has = old.backbone, old.weights, before.image_size, before.base.dtype_policy.name
    return wanted == has and not trained and not drawn


def build_classifier(
    recipe: Recipe, backbone: Backbone, base: keras.Model, task: Task
) -> keras.Model:
    """Puts the head of a recipe on a built backbone, for what is to be learned."""
    return build_model(
        backbone,
        base,
        recipe.head,
        task.class_count,
        recipe.seed,
        many_labels=task.many_labels,
        class_counts=task.class_counts,
        image_count=task.image_count,
    )


def may_cache(recipe: Recipe) -> bool:
    """Tells whether stages of a recipe may learn from features that are kept."""
    mixes = Mixing(recipe.augmentation, recipe.seed).mixes
    return recipe.cache and not mixes and _devices() == 1


def task_of(index: Index) -> Task:
    """Says what is to be learned, from the images to train on."""
    images = len(index.split("train"))
    return Task(index.class_counts("train"), images, index.many_labels)


def _devices() -> int:
    return max(len(devices.gpus()), 1)


def _say_what(backbone: Backbone, provenance: Provenance, size: int, recipe: Recipe) -> None:
    _log.info("backbone: %s at %d pixels, weights: %s", backbone.name, size, provenance.source)
    if provenance.file:
        _log.info("weights file: %s (sha256 %s)", provenance.file, provenance.sha256)
    if recipe.weights != "none":
        return
    _log.warning("the backbone starts from random weights: nothing is transferred")
    if not any(s.train_batch_norm and s.unfreeze != "head" for s in recipe.stages.values()):
        _log.warning("its BatchNorm stays frozen too: --train_batch_norm true trains it")
