"""What the parts of a run take on this machine, measured on a few of its images."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from app.backbones.backbone import Backbone
from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.budget.costs import Costs
from app.budget.steps import Bench, measure_depths
from app.data.augmentation import Augmenter
from app.data.index import Image, look
from app.data.kept import KEPT_BYTES
from app.data.looking import looker
from app.data.sources import Listing
from app.data.views import files_of, read_and_vary
from app.errors import DataError
from app.features.cutting import cut
from app.features.filling import BATCH, forward_of
from app.features.places import limit
from app.models import unfreeze
from app.preparation import build_classifier
from app.prepared import may_cache
from app.recipe import Recipe
from app.training.checkpoints import Checkpoint, Checkpoints
from app.training.losses import Task

IMAGES = 48  # that are looked at and read


def measure(recipe: Recipe, listing: Listing, is_fixed: bool, seconds: float) -> Costs:
    """Measures what a recipe's parts take, at its own image size, in some seconds.

    Args:
        recipe: The devices are set up for it.
        listing: Its images; some are chosen at random.
        is_fixed: Whether its last stage has to unfreeze what it does.
        seconds: That there are, for measuring and running.

    Raises:
        GraftError: If the weights or none of these images can be had.
    """
    backbone = find_backbone(recipe.backbone)
    size = recipe.data.image_size or backbone.image_size
    images, looking = _look(listing, recipe.seed)
    began = time.perf_counter()
    model, task = _build(recipe, backbone, size, listing)
    building = time.perf_counter() - began
    reading, varying, pixels = _read(images, recipe, size)
    folding, inference = _infer(model, backbone, pixels)
    cached = may_cache(recipe)
    depths = measure_depths(Bench(recipe, model, backbone, task, cached), is_fixed, seconds)
    return Costs(
        image_size=size,
        looking=looking,
        building=building,
        reading=reading,
        varying=varying,
        folding=folding,
        inference=inference,
        writing=_write(model),
        depths=depths,
        cache_bytes=limit() if cached else 0,
        memory_bytes=KEPT_BYTES,
        varies=recipe.augmentation.preset != "none",
    )


def _look(listing: Listing, seed: int) -> tuple[list[Image], float]:
    """Looks at some files at random, as the index looks at all."""
    chosen = np.random.default_rng(seed).permutation(len(listing.files))[:IMAGES]
    files = [listing.files[number] for number in chosen]
    looker(0)  # tracing is not a part of what a file takes
    began = time.perf_counter()
    found, unreadable = look(files)
    seconds = (time.perf_counter() - began) / len(files)
    if not found:
        reason = unreadable[0][1]
        raise DataError(f"none of {len(files)} files of {listing.root} can be read: {reason}")
    return found, seconds


def _build(
    recipe: Recipe, backbone: Backbone, size: int, listing: Listing
) -> tuple[keras.Model, Task]:
    base, _ = build_backbone(backbone, size, recipe.weights)
    counts = Counter(name for file in listing.files for name in file.class_names)
    # Some of them, so that a class without any is said when all images were looked at.
    of_classes = tuple(max(counts[name], 1) for name in listing.class_names)
    task = Task(of_classes, len(listing.files), listing.many_labels)
    return build_classifier(recipe, backbone, base, task), task


def _read(images: Sequence[Image], recipe: Recipe, size: int) -> tuple[float, float, tf.Tensor]:
    """Times reading and varying on all cores, as pipelines do; gives the first pixels, too.

    Pipelines themselves would not do: to start one takes as long as to read many images.
    """
    augmenter = Augmenter(recipe.augmentation, size, recipe.seed)
    paths, keys = files_of(images)
    as_it_is = tf.constant(0, tf.int64)

    def read(path: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        return read_and_vary(path[None], key[None], as_it_is, None, size)

    read(paths[0], keys[0])  # traces it
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        began = time.perf_counter()
        pixels = [each.numpy() for each in pool.map(read, paths, keys)]
        reading = (time.perf_counter() - began) / len(images)
        varying = 0.0
        if not augmenter.leaves_as_they_are:
            number, known = [1] * len(images), keys.numpy()[:, None]
            list(pool.map(augmenter, pixels, number, known))  # each thread makes its pipeline
            vary = partial(pool.map, augmenter, pixels, number, known)
            varying = quickest(lambda: list(vary())) / len(images)
    return reading, varying, tf.constant(np.concatenate(pixels[:BATCH]))


def _infer(model: keras.Model, backbone: Backbone, pixels: tf.Tensor) -> tuple[float, float]:
    unfreeze(model, backbone, "head")
    divided = cut(model)
    assert divided is not None  # a backbone has weights below its head
    began = time.perf_counter()
    forward = forward_of(divided.below)
    forward(pixels)
    folding = time.perf_counter() - began
    return folding, quickest(lambda: forward(pixels)) / len(pixels)


def _write(model: keras.Model) -> float:
    """Times a checkpoint of all weights, where temporary files lie."""
    arrays = {str(number): np.array(weight) for number, weight in enumerate(model.weights)}
    with tempfile.TemporaryDirectory(prefix="graft-") as folder:
        checkpoints = Checkpoints(Path(folder))
        return quickest(lambda: checkpoints.write(0, Checkpoint({}, arrays)), 2)


def quickest(work: Callable[[], object], tries: int = 3) -> float:
    """Returns seconds; whatever else the machine does makes work slower, never quicker."""
    times = []
    for _ in range(tries):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
