"""What a recipe takes, reckoned from what its parts took. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.features.walking import views_kept
from app.recipe import Data, Recipe, Stage

# A cached epoch of a head on 510 images took 0.05 s in all: callbacks, history, progress.
EPOCH_SECONDS = 0.05
RANGE_TEST_STEPS = 100  # of `app.training.finder`
FIXED = 0.25  # of a network's time, whatever the size of the images
ANSWER = 0.5  # of a training step: at most, since it goes one way of two
UNFOLDED = 3.0  # times as long as folded


@dataclass(frozen=True)
class Counts:
    """How many images each split will have.

    Attributes:
        train: To learn from.
        validation: That choose the best weights.
        test: For the final measurement.
    """

    train: int
    validation: int
    test: int

    @property
    def all(self) -> int:
        """How many there are."""
        return self.train + self.validation + self.test


@dataclass(frozen=True)
class Depth:
    """What a stage takes that unfreezes so much of a backbone.

    Attributes:
        share: Of the blocks that are unfrozen, 0 for the head alone.
        begin: Seconds that its first epoch takes beyond its steps: it is traced.
        step: Seconds of training an image, from the frozen boundary on if there is one.
        row_bytes: What crosses that boundary takes in the cache, an image; 0 if there is none.
    """

    share: float
    begin: float
    step: float
    row_bytes: int


@dataclass(frozen=True)
class Costs:
    """What was measured on this machine, in seconds, at one image size.

    Attributes:
        image_size: Side of the images in pixels.
        looking: At one file: read, decoded, hashed.
        building: The network, with its weights.
        reading: One image, decoded and resized.
        varying: One image; 0 if nothing varies.
        folding: The network for inference, and its first batch.
        inference: One image through the folded network.
        writing: A checkpoint of all weights.
        depths: By what `Stage.unfreeze` says; of every stage of a plan.
        cache_bytes: So many may be kept on disk.
        memory_bytes: So many of pixels may be kept in memory.
        varies: Whether there is another view of an image than the first.
    """

    image_size: int
    looking: float
    building: float
    reading: float
    varying: float
    folding: float
    inference: float
    writing: float
    depths: Mapping[str, Depth]
    cache_bytes: int
    memory_bytes: int
    varies: bool = True


def count(splits: Iterable[str], data: Data) -> Counts:
    """Counts the images of each split, as they will be divided.

    Args:
        splits: Of each file, as its source has it; empty where it has none.
        data: Says which shares are taken where the source does not.
    """
    of = list(splits)
    train, validation, test = (of.count(name) for name in ("train", "validation", "test"))
    free = train + of.count("")
    if not test and validation:  # then it is kept apart as the test split
        validation, test = 0, validation
    if not test:
        test = round(free * data.test_fraction)
        free -= test
        validation = round((free + test) * data.validation_fraction)
        return Counts(free - validation, validation, test)
    if not validation:
        validation = round(free * data.validation_fraction)
        free -= validation
    return Counts(free, validation, test)


def predict(recipe: Recipe, images: Counts, costs: Costs) -> dict[str, float]:
    """Says how many seconds each part of a run takes, from a loaded TensorFlow on.

    Features that are in the cache already are counted as if they were not. Reading is taken to
    cost the same at every size, since most of it is decoding.

    Args:
        recipe: What is run.
        images: It is run on.
        costs: Of its backbone, for the `unfreeze` of each of its stages.

    Returns:
        Seconds by part, in the order of a run: `start`, `features`, each stage, `measuring`.
    """
    scale = scaled(size_of(recipe, costs), costs)
    parts = {"start": costs.looking * images.all + costs.building, "features": 0.0}
    made: set[tuple[float, int]] = set()
    held = 0
    for name, stage in recipe.stages.items():
        parts[name] = _stage(recipe, stage, images, costs)
        if _is_kept(recipe, stage, images, costs):
            share = costs.depths[stage.unfreeze].share
            wanted = {(share, view) for view in range(views_kept(stage, costs.varies))} - made
            parts["features"] += sum(_view(view, images, costs, scale) for _, view in wanted)
            made |= wanted
        else:
            missing = images.train + images.validation - held
            parts[name] += costs.reading * missing
            held += missing
    answer = costs.reading + costs.inference * scale
    asked = images.validation + images.test
    parts["measuring"] = 4 * costs.writing + costs.folding + asked * answer
    return parts


def scaled(size: int, costs: Costs) -> float:
    """Says how a network's time at a size compares with that where it was measured.

    A quarter stays, as the overhead of many small operations, and the rest goes with the
    square of the size; what that is from is in docs/budget.md.
    """
    return FIXED + (1 - FIXED) * (size / costs.image_size) ** 2


def size_of(recipe: Recipe, costs: Costs) -> int:
    """Returns the side of the images of a recipe."""
    return recipe.data.image_size or costs.image_size


def _is_kept(recipe: Recipe, stage: Stage, images: Counts, costs: Costs) -> bool:
    """Tells whether a stage learns from rows of the cache, or from images."""
    depth, views = costs.depths[stage.unfreeze], views_kept(stage, costs.varies)
    rows = images.train * views + images.validation
    larger = (size_of(recipe, costs) / costs.image_size) ** 2
    return views > 0 and 0 < rows * depth.row_bytes * larger <= costs.cache_bytes


def _view(view: int, images: Counts, costs: Costs, scale: float) -> float:
    """Rows of one view; those of validation are of the first. All blocks are taken to be frozen."""
    row = costs.reading + costs.inference * scale
    if view:
        return images.train * (row + costs.varying * scale)
    return (images.train + images.validation) * row


def _stage(recipe: Recipe, stage: Stage, images: Counts, costs: Costs) -> float:
    """Folding, tracing, the range test if the rate is to be found, and epochs."""
    depth, scale = costs.depths[stage.unfreeze], scaled(size_of(recipe, costs), costs)
    step, read = depth.step * scale, 0.0
    if not _is_kept(recipe, stage, images, costs):
        # Rows for which there is no room go through the frozen blocks in training, not folded.
        step += (costs.varying + (UNFOLDED * costs.inference if depth.row_bytes else 0)) * scale
        read = costs.reading * _not_in_memory(recipe, images, costs)
    # The optimizer keeps up to two numbers for each weight that trains.
    fixed = EPOCH_SECONDS + costs.writing * (1 + 2 * depth.share)
    epoch = fixed + read + (images.train + ANSWER * images.validation) * step
    begin = costs.folding + depth.begin
    if stage.learning_rate == "auto":
        begin += depth.begin + RANGE_TEST_STEPS * recipe.data.batch_size * step
    return begin + stage.epochs * epoch


def _not_in_memory(recipe: Recipe, images: Counts, costs: Costs) -> int:
    fitting = costs.memory_bytes // (3 * size_of(recipe, costs) ** 2)
    return max(images.train + images.validation - fitting, 0)
