"""Stages that learn from what crosses the frozen boundary, in place of images."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from app.data.augmentation import Augmenter
from app.data.index import Index
from app.data.kept import KeptImages
from app.errors import CacheError
from app.features.batches import measuring_rows, training_rows
from app.features.cutting import Cut
from app.features.filling import Frozen
from app.features.places import row_bytes, show_size
from app.features.walking import views_kept
from app.recipe import Stage
from app.training.learner import Learner
from app.training.normalizing import Moments, moments

_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Boundary:
    """The way from images to what crosses the frozen boundary of a classifier, for a stage.

    Attributes:
        divided: The classifier, cut at the boundary; None if it has none.
        backbone: Name of the backbone inside.
        image_size: Side of the images in pixels.
        index: The images.
        augmenter: Makes every view but the first.
        batch_size: Images a training step.
        seed: Of the run.
        kept: Where images are found that were read before.
    """

    divided: Cut | None
    backbone: str
    image_size: int
    index: Index
    augmenter: Augmenter
    batch_size: int
    seed: int
    kept: KeptImages

    def views(self, stage: Stage) -> int:
        """Says how many views a stage walks through; 0 is a new one each epoch.

        What a stage that trains blocks gains from a second view, and one that trains the head
        alone does not, is in docs/cache.md.
        """
        if stage.views == "auto" and self.divided is None:
            return 0
        return views_kept(stage, not self.augmenter.leaves_as_they_are)

    def learner(self, name: str, views: int, within: ExitStack) -> Learner | None:
        """Makes what a stage fits above the boundary, its rows found or computed.

        Args:
            name: Of the stage.
            views: How many its epochs walk through.
            within: Closes the cache when the stage is over.

        Returns:
            None, with the reason said, if there is no such boundary, or no room for the rows.
        """
        if not views or self.divided is None:
            return None
        try:
            return self._learner(name, self.divided, views, within)
        except CacheError as error:
            _log.warning("stage %s learns from images, since its cache failed: %s", name, error)
            return None

    def moments(self, keep: bool) -> Moments:
        """Returns mean and variance of what crosses it, over the training images as they are.

        Args:
            keep: Whether it is kept for the stages if that can be, with what they measure on.

        Raises:
            ValueError: If there is no boundary.
        """
        if self.divided is None:
            raise ValueError("nothing is frozen")
        frozen, train = self._frozen(self.divided), self.index.split("train")
        what = "normalizing"
        _log.info("the head normalizes its features over %d training images", len(train))
        images = (*train, *self.index.split("validation"))
        try:
            with ExitStack() as within:
                (collection,) = frozen.collections(1, within) if keep else (None,)
                if collection is not None and collection.fits(len(images)):
                    frozen.fill(collection, images, 0, what)
                    return moments(frozen.rows(collection, train, 0).chunks())
        except CacheError as error:
            _log.warning("features are computed twice, since the cache failed: %s", error)
        return moments(frozen.computed(train, 0, what))

    def _frozen(self, divided: Cut) -> Frozen:
        return Frozen(divided, self.backbone, self.image_size, self.augmenter, self.kept)

    def _learner(self, name: str, divided: Cut, views: int, within: ExitStack) -> Learner | None:
        train, validation = self.index.split("train"), self.index.split("validation")
        frozen = self._frozen(divided)
        opened = frozen.collections(views, within)
        count = len(train) * views + len(validation)
        size = show_size(count * row_bytes(divided.width))
        if not opened[0].fits(count):
            _log.warning("stage %s learns from images: no room to keep %s of features", name, size)
            return None
        _log.info(
            "stage %s: what its frozen blocks make of %d images, %s, is computed once: %s",
            name,
            len(train),
            "each as it is" if views == 1 else f"in {views} views",
            size,
        )
        for view, collection in enumerate(opened):
            # Starting to read costs as much as some hundred images: validation comes along.
            images = train if view else (*train, *validation)
            frozen.fill(collection, images, view, f"view {view + 1} of {views}")
        rows = [frozen.rows(collection, train, view) for view, collection in enumerate(opened)]
        measured = frozen.rows(opened[0], validation, 0)
        batch = self.batch_size
        return Learner(
            divided.above,
            partial(training_rows, self.index, rows, divided, batch, self.seed),
            measuring_rows(self.index, validation, measured, divided, batch),
            whole_epochs=True,
        )
