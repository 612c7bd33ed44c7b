"""A recipe that is ready for work, and what can be asked of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.backbones.backbone import Backbone
from app.backbones.weights import Provenance
from app.data.augmentation import Augmenter
from app.data.batches import measuring_batches, steps_per_epoch, training_batches
from app.data.index import Index
from app.data.kept import KeptImages
from app.data.looking import Seen
from app.data.mixing import Mixing
from app.data.views import view_batches
from app.features.cutting import Cut, cut, cut_below
from app.heads import NORMALIZED
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
        kept_before: What another recipe kept of the same images, in the same size.
    """

    recipe: Recipe
    backbone: Backbone
    image_size: int
    index: Index
    model: keras.Model
    provenance: Provenance
    base: keras.Model
    seen: Seen | None = None
    kept_before: KeptImages | None = None

    @property
    def task(self) -> Task:
        """What is to be learned from how many images."""
        return task_of(self.index)

    @cached_property
    def kept(self) -> KeptImages:
        """The images, in memory while they fit: those first that are read most often."""
        if self.kept_before is not None:
            return self.kept_before
        order = ("validation", "train", "test")
        images = [image for split in order for image in self.index.split(split)]
        return KeptImages(images, self.image_size, seen=self.seen)

    @property
    def steps(self) -> int:
        """Training batches an epoch."""
        return steps_per_epoch(
            len(self.index.split("train")), self.recipe.data.batch_size, _devices()
        )

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
        return training_batches(
            self.index,
            self._augmenter(),
            self.image_size,
            recipe.data.batch_size,
            recipe.seed,
            first_epoch=first_epoch,
            epochs=epochs,
            devices=_devices(),
            mixing=Mixing(recipe.augmentation, recipe.seed),
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

    def trainer(
        self,
        directory: Path,
        watched: bool = False,
        until: float = math.inf,
        pause: int | None = None,
        beside: Sequence[keras.callbacks.Callback] = (),
        settled: Callable[[Learner], None] = lambda _: None,
    ) -> Trainer:
        """Makes what trains the model in stages.

        Args:
            directory: For `history.csv` and `checkpoints/`, from which training goes on.
            watched: Whether TensorBoard is told, in `tensorboard/`.
            until: When training ends, by `time.monotonic()`.
            pause: After how many epochs of all stages it pauses.
            beside: What else looks on.
            settled: Is told what a stage fitted, with the best weights so far, when it is over.
        """
        checkpoints = Checkpoints(directory / "checkpoints")
        history = History(directory / "history.csv")
        pixels = self._first_pixels(WATCHED_IMAGES) if watched else None

        def watching(stage: Stage) -> list[keras.callbacks.Callback]:
            if pixels is None:
                return [*beside]
            folder, every = directory / "tensorboard", stage.accumulate_steps
            return [Watch(self.model, folder, history, pixels, every), *beside]

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
            pause=pause,
            settled=settled,
        )

    def _first_pixels(self, count: int) -> NDArray[np.uint8]:
        images = self.index.split("validation")[:count]
        (pixels,) = view_batches(images, 0, None, self.image_size, count, self.kept)
        found: NDArray[np.uint8] = pixels.numpy()
        return found


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
