"""What a training step takes at each depth that a plan may have."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from app.backbones.backbone import Backbone
from app.backbones.blocks import blocks
from app.budget.choosing import shallower
from app.budget.costs import Depth
from app.features.cutting import Cut, cut
from app.features.places import row_bytes
from app.models import unfreeze
from app.recipe import Recipe, Stage
from app.training import devices
from app.training.compiling import compile_for
from app.training.losses import Task
from app.training.stopping import between_steps

STEPS = 4  # that are timed, of which the first is traced
LONG_SECONDS = 10.0
# All of MobileNetV2 took 1.3 to 2.3 times as long as in proportion to fewer of its blocks.
DEARER, DEAR = 2.3, 2 / 3  # from which share of the blocks on
SHARE = 0.05  # of the time there is, that measuring the recipe's own depth may take
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Bench:
    """What steps are timed with.

    Attributes:
        recipe: Its last stage says how a step is made.
        model: Of the recipe; what it learned is of no use afterwards.
        backbone: The one inside.
        task: What is to be learned.
        cached: Whether stages learn from the cache where they can.
        clock: Gives seconds, of the wall clock or of the processor.
    """

    recipe: Recipe
    model: keras.Model
    backbone: Backbone
    task: Task
    cached: bool = True
    clock: Callable[[], float] = time.perf_counter

    def time(self, what: str) -> Depth:
        """Times steps at one depth, the first of which is traced."""
        _, share = self.unfreeze(what)
        divided = cut(self.model) if self.cached else None
        begin, step = self._fit(divided, replace(self._stage, learning_rate=1e-3))
        return Depth(share, begin, step, row_bytes(divided.width) if divided else 0)

    def unfreeze(self, what: str) -> tuple[int, float]:
        """Unfreezes blocks, and says how many they are, and which share of all."""
        trained = unfreeze(self.model, self.backbone, what, self._stage.train_batch_norm)
        return len(trained), len(trained) / len(blocks(self.model, self.backbone))

    @property
    def _stage(self) -> Stage:
        return list(self.recipe.stages.values())[-1]

    def _fit(self, divided: Cut | None, stage: Stage) -> tuple[float, float]:
        """Returns seconds that a first epoch takes beyond its steps, and those of an image."""
        above = divided.above if divided else self.model
        xla = devices.jit_compile(self.recipe, len(devices.gpus()))
        compile_for(self.model, self.backbone, stage, self.task, STEPS, xla, above=above)
        size = self.recipe.data.batch_size
        batch = tf.data.Dataset.from_tensors(self._batch(divided, size)).repeat()
        ends: list[float] = []
        noting = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda *_, **__: ends.append(self.clock())
        )
        began = self.clock()
        with between_steps() as stopping:
            above.fit(
                batch,
                steps_per_epoch=STEPS,
                validation_data=batch.take(1),
                callbacks=[noting, stopping],
                shuffle=False,
                verbose=0,
            )
        total = self.clock() - began
        step = min(later - earlier for earlier, later in pairwise(ends))
        return max(total - STEPS * step, 0.0), step / size

    def _batch(self, divided: Cut | None, size: int) -> tuple[Any, tf.Tensor]:
        """Draws inputs of a batch, and makes shares of classes, which every loss understands."""
        classes = self.task.class_count
        labels = tf.one_hot(tf.range(size) % classes, classes)
        inputs = divided.above.inputs if divided else self.model.inputs
        drawn = tuple(
            tf.random.stateless_uniform([size, *each.shape[1:]], [0, number], dtype=each.dtype)
            for number, each in enumerate(inputs)
        )
        return (drawn if len(drawn) > 1 else drawn[0]), labels


def measure_depths(bench: Bench, is_fixed: bool, seconds: float) -> dict[str, Depth]:
    """Times steps at the depths that a plan may have, as far as that pays.

    Tracing takes seconds, the more blocks the longer. So a quarter of what the last stage
    unfreezes is timed, and half of it taken to cost twice that. The stage's own depth is timed
    if it has to be, or if that takes little of the time there is; else it is reckoned, too, and
    taken to cost more than in proportion if it is most of the backbone.

    Args:
        bench: What steps are timed with.
        is_fixed: Whether the last stage has to unfreeze what it does.
        seconds: That there are, for measuring and running.

    Returns:
        By what `Stage.unfreeze` says.
    """
    *before, own = (stage.unfreeze for stage in bench.recipe.stages.values())
    if is_fixed:
        return {name: bench.time(name) for name in dict.fromkeys([*before, own])}
    found = {name: bench.time(name) for name in dict.fromkeys([*before, "head"])}
    blocks_of_own, _ = bench.unfreeze(own)
    deepest = found["head"]
    for name in shallower(own, blocks_of_own):
        if name not in found and not deepest.share:
            found[name] = bench.time(name)
        elif name not in found:
            found[name] = _scaled(bench, name, deepest)
        deepest = max(deepest, found[name], key=lambda depth: depth.share)
    if own not in found:
        pays = _pays(bench, own, deepest, seconds)
        dearer = DEARER if bench.unfreeze(own)[1] > DEAR else 1.0
        found[own] = bench.time(own) if pays else _scaled(bench, own, deepest, dearer)
    return found


def _scaled(bench: Bench, name: str, timed: Depth, dearer: float = 1.0) -> Depth:
    """Takes tracing and steps to cost in proportion to blocks; docs/budget.md says how nearly."""
    _, share = bench.unfreeze(name)
    divided = cut(bench.model) if bench.cached else None
    row, ratio = row_bytes(divided.width) if divided else 0, dearer * share / timed.share
    return Depth(share, timed.begin * ratio, timed.step * ratio, row)


def _pays(bench: Bench, own: str, deepest: Depth, seconds: float) -> bool:
    if not deepest.share:
        return True
    steps = STEPS * bench.recipe.data.batch_size * deepest.step
    expected = (deepest.begin + steps) * bench.unfreeze(own)[1] / deepest.share
    if expected > SHARE * seconds:
        _log.info("steps that unfreeze %s are not timed but reckoned, for lack of time", own)
        return False
    if expected > LONG_SECONDS:
        _log.info("measuring steps that unfreeze %s, for about %.0f s", own, expected)
    return True
