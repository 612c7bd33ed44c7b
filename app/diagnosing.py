"""`graft diagnose`: checks a recipe before it is trained for long."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from app.backbones.blocks import around_backbone
from app.data.batches import measuring_batches
from app.data.index import Image, Index
from app.features.cutting import cut_below
from app.heads import NORMALIZED
from app.models import unfreeze
from app.preparation import prepare
from app.prepared import Prepared
from app.recipe import Recipe, Stage
from app.training.diagnosis import (
    Finding,
    check_initial_loss,
    check_inputs,
    check_one_batch,
    uniform_loss,
)
from app.training.first_steps import check_first_steps
from app.training.gradient_check import check_gradients
from app.training.losses import build_loss, build_metrics
from app.training.normalizing import moments, normalize
from app.training.optimizers import build_optimizer, rate_factors
from app.training.parts import plain_copy, same_randomness
from app.training.random_labels import DRAWS, check_random_labels

# Enough to tell the loss of a fresh head from another, few enough for a minute in all.
IMAGES, BY_HEART, DIFFERENCED = 64, 16, 2
# Updates are judged at it where the recipe has the rate found as its stage begins.
USUAL_RATE = 1e-3
_log = logging.getLogger("graft")


def diagnose(recipe: Recipe) -> Iterator[Finding]:
    """Makes all checks on a few images of a recipe, and gives each finding as it is there.

    Args:
        recipe: Its images are looked at and its model is built as for training.

    Returns:
        What was found, check by check, in the order of the way that data go.

    Raises:
        GraftError: If the recipe, its images or its weights will not do.
    """
    return findings(prepare(recipe))


def findings(prepared: Prepared) -> Iterator[Finding]:
    """Makes all checks, and gives each finding as soon as it is there.

    The model and the random states stay as they are; only what trains is set anew, and a head
    that normalises its features does so by the images looked at.
    """
    model, backbone, task = prepared.model, prepared.backbone, prepared.task
    stages = list(prepared.recipe.stages.values())
    first, last = stages[0], stages[-1]
    pixels, labels = _images(prepared, _chosen(prepared.index, prepared.recipe.seed))
    normalize(model, lambda: moments([cut_below(model, NORMALIZED).below.predict_on_batch(pixels)]))
    metric = build_metrics(task)[0]
    _log.info("checking the inputs of the backbone, on %d images", len(pixels))
    yield check_inputs(model, backbone, pixels)
    _log.info("checking the loss of the fresh head")
    _unfreeze(prepared, model, first)
    plain = build_loss(_plain(first), task)
    yield check_initial_loss(model, plain, uniform_loss(first, task), pixels, labels)
    _log.info("learning one batch by heart")
    _unfreeze(prepared, model, last)
    plain = build_loss(_plain(last), task)
    few = slice(BY_HEART)
    yield check_one_batch(model, plain, metric, pixels[few], labels[few])
    _log.info("checking gradients against differences")
    few = slice(DIFFERENCED)
    yield check_gradients(
        model, backbone, build_loss(last, task), pixels[few], labels[few], prepared.recipe.seed
    )
    _log.info("training %d heads on labels drawn at random", DRAWS)
    yield _check_random_labels(prepared, build_loss(_plain(first), task), metric)
    yield from _check_first_steps(prepared, pixels, labels)


def _check_random_labels(prepared: Prepared, loss: Any, metric: keras.metrics.Metric) -> Finding:
    """Sends images with random names through the pipeline, augmentation and mixing included."""
    features = around_backbone(prepared.model)[2]
    seeing = keras.Model(prepared.model.input, features)

    def seen(batches: Any) -> tuple[Any, Any]:
        pairs = [(seeing.predict_on_batch(pixels), labels.numpy()) for pixels, labels in batches]
        values, names = zip(*pairs, strict=True)
        return np.concatenate(values), np.concatenate(names)

    index, seed, task = prepared.index, prepared.recipe.seed, prepared.task
    # All draws in one epoch: whatever it gives in turn is a random choice of the images.
    random = _with_random_labels(prepared, _chosen(index, seed) * DRAWS)
    draws = zip(*(np.array_split(each, DRAWS) for each in seen(random.training(0, 1))), strict=True)
    validation = _chosen(index, seed, "validation")
    batches = measuring_batches(index, validation, prepared.image_size, BY_HEART)
    head = keras.Model(features, prepared.model.output)
    chance = 0.5 if task.many_labels else 1 / task.class_count
    return check_random_labels(head, loss, metric, draws, seen(batches), chance)


def _with_random_labels(prepared: Prepared, images: list[Image]) -> Prepared:
    """Names some images anew, and has nothing but them: what reads them sees no true label."""
    names, many = prepared.index.class_names, prepared.index.many_labels
    drawn = np.random.default_rng(prepared.recipe.seed).random((len(images), len(names)))
    renamed = [
        replace(
            image,
            class_names=tuple(name for name, draw in zip(names, row, strict=True) if draw < 0.5)
            if many
            else (names[int(row.argmax())],),
        )
        for image, row in zip(images, drawn, strict=True)
    ]
    return replace(prepared, index=replace(prepared.index, images=tuple(renamed)))


def _check_first_steps(prepared: Prepared, pixels: Any, labels: Any) -> Iterator[Finding]:
    """Takes the first steps of the first stage, and from there those of the last."""
    with same_randomness():
        model = plain_copy(prepared.model)
    stages = prepared.recipe.stages
    for name in dict.fromkeys([next(iter(stages)), list(stages)[-1]]):
        _log.info("looking at the first steps of stage %s", name)
        stage = _at_peak(name, stages[name])
        _unfreeze(prepared, model, stage)
        factors = rate_factors(model, prepared.backbone, stage.layer_decay)
        yield from check_first_steps(
            name,
            model,
            prepared.backbone,
            build_loss(stage, prepared.task),
            build_optimizer(stage, prepared.steps, factors),
            pixels,
            labels,
        )


def _unfreeze(prepared: Prepared, model: keras.Model, stage: Stage) -> None:
    unfreeze(model, prepared.backbone, stage.unfreeze, stage.train_batch_norm)


def _plain(stage: Stage) -> Stage:
    """With label smoothing no loss gets to 0, and weights of classes shift it."""
    return replace(stage, label_smoothing=0.0, class_weights="none")


def _at_peak(name: str, stage: Stage) -> Stage:
    """Every step is an update at the largest rate of the stage."""
    if stage.learning_rate == "auto":
        _log.info("stages.%s.learning_rate is auto: its updates are judged at %g", name, USUAL_RATE)
        stage = replace(stage, learning_rate=USUAL_RATE)
    return replace(
        stage,
        schedule="constant",
        warmup_epochs=0.0,
        accumulate_steps=1,
        weight_average="none",
    )


def _images(prepared: Prepared, images: list[Image]) -> tuple[Any, Any]:
    """Reads images as they are, in one batch."""
    batches = measuring_batches(prepared.index, images, prepared.image_size, len(images))
    pixels, labels = next(iter(batches))
    return pixels.numpy(), labels.numpy()


def _chosen(index: Index, seed: int, split: str = "train") -> list[Image]:
    """Chooses a few images, of all classes in turn."""
    random = np.random.default_rng(seed)
    by_class: dict[str, list[Image]] = {}
    images = index.split(split)
    for position in random.permutation(len(images)):
        by_class.setdefault(images[position].class_name, []).append(images[position])
    turns = max(map(len, by_class.values()))
    in_turn = [of[turn] for turn in range(turns) for of in by_class.values() if turn < len(of)]
    return in_turn[:IMAGES]
