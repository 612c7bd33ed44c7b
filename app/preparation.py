"""A recipe made ready for work: its images looked at, its model built."""

from __future__ import annotations

import logging

import keras

from app.backbones.backbone import Backbone
from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.backbones.weights import Provenance
from app.data.index import Index, build_index, summary
from app.data.kept import KEPT_BYTES
from app.data.looking import Seen
from app.data.sources import list_images
from app.models import build_model, unfreeze
from app.prepared import Prepared, task_of
from app.recipe import Recipe
from app.training import devices
from app.training.losses import Task

_log = logging.getLogger("graft")


def prepare(recipe: Recipe, index: Index | None = None, before: Prepared | None = None) -> Prepared:
    """Sets up the devices, looks at the images and builds the model of a recipe.

    Args:
        recipe: What to do.
        index: The images, if they were looked at and divided before.
        before: A recipe whose model is not needed any more: a backbone that stayed as it was
            is taken over, which saves building it anew, and so are images that were kept.

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
    same = before is not None and before.index is index and before.image_size == size
    kept = before.kept if before and same else None
    return Prepared(recipe, backbone, size, index, model, provenance, base, seen, kept)


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


def _say_what(backbone: Backbone, provenance: Provenance, size: int, recipe: Recipe) -> None:
    _log.info("backbone: %s at %d pixels, weights: %s", backbone.name, size, provenance.source)
    if provenance.file:
        _log.info("weights file: %s (sha256 %s)", provenance.file, provenance.sha256)
    if recipe.weights != "none":
        return
    _log.warning("the backbone starts from random weights: nothing is transferred")
    if not any(s.train_batch_norm and s.unfreeze != "head" for s in recipe.stages.values()):
        _log.warning("its BatchNorm stays frozen too: --train_batch_norm true trains it")
