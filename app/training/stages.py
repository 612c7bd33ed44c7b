"""Stages: each unfreezes, compiles anew with its own optimizer, and fits."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import keras

from app.backbones.backbone import Backbone
from app.errors import RunError
from app.models import unfreeze
from app.recipe import Stage
from app.training.averaging import Average
from app.training.callbacks import (
    EarlyStopping,
    History,
    KeepBest,
    Plateau,
    Progress,
    Resumable,
)
from app.training.checkpoints import Checkpoint, Checkpoints
from app.training.compiling import compile_for
from app.training.devices import gpus, sent_ahead
from app.training.diverging import StopWhenDiverging
from app.training.finder import find_stage_rate
from app.training.in_time import StopInTime
from app.training.learner import Learner
from app.training.losses import Task
from app.training.resuming import Checkpointer, Moment
from app.training.schedules import in_epochs, peak, warmup_epochs
from app.training.stopping import between_steps

_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Trainer:
    """What all stages of a run share.

    Attributes:
        model: Is trained in place.
        backbone: The one inside.
        task: What is to be learned.
        steps: Training batches an epoch.
        learner: Makes what a stage fits, of its name and the stage itself, once the blocks
            that it trains are unfrozen.
        jit_compile: Whether XLA compiles the steps.
        checkpoints: Where the run can go on after it was killed.
        history: Collects every epoch of every stage.
        best: Keeps the best weights of all stages.
        checkpoint_steps: Steps from one checkpoint to the next; one an epoch if None.
        at_once: Steps between two returns to Python, where nothing has to look in between;
            they divide those of an epoch.
        watching: Makes what else looks on during a stage, such as `Watch`.
        until: When training ends, by `time.monotonic()`, if at least one epoch was measured.
        pause: After how many epochs of all stages it pauses, at a checkpoint from which it goes
            on another time; None for never.
        settled: Is told what a stage fitted, with the best weights so far, when it is over.
    """

    model: keras.Model
    backbone: Backbone
    task: Task
    steps: int
    learner: Callable[[str, Stage], AbstractContextManager[Learner]]
    jit_compile: bool
    checkpoints: Checkpoints
    history: History
    best: KeepBest
    checkpoint_steps: int | None = None
    at_once: int = 1
    watching: Callable[[Stage], list[keras.callbacks.Callback]] = lambda _: []
    until: float = math.inf
    pause: int | None = None
    settled: Callable[[Learner], None] = lambda _: None

    def train(self, stages: Mapping[str, Stage]) -> None:
        """Trains the stages in their order, from the last checkpoint on if there is one.

        The model is left with the best weights of all stages.

        Raises:
            RunError: If a loss diverges, or a checkpoint cannot be written.
        """
        saved = self.checkpoints.latest()
        at = Moment(**saved.state["moment"]) if saved else Moment(next(iter(stages)))
        if saved:
            _log.info("going on from the checkpoint after %s", at.describe())
        names = list(stages)
        for number, (name, stage) in enumerate(stages.items()):
            if number < names.index(at.stage):
                continue
            if self.best.best_stage and time.monotonic() >= self.until:
                _log.warning("the time is over: left out: stage %s", ", ".join(names[number:]))
                break
            first = sum(earlier.epochs for earlier in list(stages.values())[:number])
            if self.pause is not None and first >= self.pause:
                break
            begun = at if name == at.stage else Moment(name)
            self._train_stage(stage, first, begun, saved if name == at.stage else None)

    def _train_stage(self, stage: Stage, first: int, at: Moment, saved: Checkpoint | None) -> None:
        """Trains one stage, from its beginning or from a checkpoint within it."""
        name = self.history.stage = self.best.stage = at.stage
        self.best.keeps = stage.keep
        chosen = unfreeze(self.model, self.backbone, stage.unfreeze, stage.train_batch_norm)
        _log.info("stage %s: %s", name, _describe(self.model, chosen))
        with self.learner(name, stage) as learner:
            self._learn(learner, stage, first, at, saved)
            self._settle(name, stage, self._last(stage, first))
            self.settled(learner)

    def _last(self, stage: Stage, first: int) -> int:
        """Returns the epochs of a stage after which it is over, or pauses."""
        return stage.epochs if self.pause is None else min(stage.epochs, self.pause - first)

    def _learn(
        self, learner: Learner, stage: Stage, first: int, at: Moment, saved: Checkpoint | None
    ) -> None:
        name = at.stage
        stage = self._with_rate(name, stage, first, at, learner)
        self._compile(learner, stage)
        _say_warmup(name, stage)
        diverging, counters = self._counters(stage)
        checkpointer = Checkpointer(
            self.model,
            self.checkpoints,
            replace(at, learning_rate=peak(stage)),
            first,
            stage.epochs,
            self.steps,
            self.checkpoint_steps,
            counters,
            self._last(stage, first),
        )
        progress = Progress(name, stage.epochs, self.steps)
        in_time = StopInTime(self.until)  # after what keeps the best weights
        callbacks = [progress, *counters, in_time, *self.watching(stage), checkpointer]
        with between_steps() as stopping:
            if at.step:  # Keras makes the metrics, whose means go on, when it first needs them
                learner.model.evaluate(learner.validation.take(1), verbose=0)
            if saved:
                checkpointer.take_up(learner.model, saved)
            if not at.over:
                self._fit(learner, stage, first, at, diverging, [*callbacks, stopping])

    def _counters(self, stage: Stage) -> tuple[StopWhenDiverging, list[Resumable]]:
        diverging = StopWhenDiverging()
        counters = [diverging, self.history, self.best, EarlyStopping(stage.patience)]
        if stage.schedule == "plateau":
            counters.append(Plateau(stage, self.steps))
        # After what keeps the averages, and before what writes the trained weights.
        counters.append(Average(stage))
        return diverging, counters

    def _compile(self, learner: Learner, stage: Stage) -> None:
        """Compiles what a stage fits, for several steps in one go if nothing looks in between."""
        looks_in = self.checkpoint_steps or stage.schedule == "plateau"
        at_once = self.steps if learner.whole_epochs else self.at_once
        compile_for(
            self.model,
            self.backbone,
            stage,
            self.task,
            self.steps,
            self.jit_compile,
            above=learner.model,
            at_once=1 if looks_in else at_once,
        )

    def _fit(
        self,
        learner: Learner,
        stage: Stage,
        first: int,
        at: Moment,
        diverging: StopWhenDiverging,
        callbacks: list[keras.callbacks.Callback],
    ) -> None:
        """Fits what is left of a stage; what is left of an epoch that was begun comes first."""
        epoch, last = at.epoch, self._last(stage, first)
        if at.step:
            diverging.within_epoch = True
            self._fit_epochs(learner, first, epoch, epoch + 1, at.step, callbacks)
            for callback in callbacks:
                if isinstance(callback, Resumable):  # Keras would set it back
                    callback.resume(callback.state())
            epoch += 1
        if epoch < last and not (at.step and learner.model.stop_training):
            self._fit_epochs(learner, first, epoch, last, 0, callbacks)
        if diverging.found:
            raise RunError(self._diverged(at.stage, stage, diverging.found))

    def _fit_epochs(
        self,
        learner: Learner,
        first: int,
        begin: int,
        end: int,
        step: int,
        callbacks: list[keras.callbacks.Callback],
    ) -> None:
        batches = learner.training(first + begin, end - begin, step)
        learner.model.fit(
            sent_ahead(batches, gpus()),
            steps_per_epoch=self.steps - step,
            initial_epoch=begin,
            epochs=end,
            validation_data=learner.validation,
            callbacks=callbacks,
            shuffle=False,  # the batches come in their order
            verbose=0,
        )

    def _with_rate(
        self, name: str, stage: Stage, first: int, at: Moment, learner: Learner
    ) -> Stage:
        """Finds the learning rate, if the stage asks for that and it is not known yet."""
        if stage.learning_rate != "auto":
            return stage
        rate = at.learning_rate
        if rate is None:
            _log.info("stage %s: looking for a learning rate", name)
            batches = learner.training(first, stage.epochs, 0)
            found = find_stage_rate(
                self.model, self.backbone, stage, self.task, batches, above=learner.model
            )
            rate = found.suggestion
        _log.info("stage %s: learning rate %.3g, found by a range test", name, rate)
        return replace(stage, learning_rate=rate)

    def _diverged(self, name: str, stage: Stage, found: str) -> str:
        kept = "no weights were kept"
        if self.best.best_stage:
            kept = f"the last checkpoint has the best weights, of stage {self.best.best_stage}"
        clip = "" if stage.global_clip_norm else f", or set stages.{name}.global_clip_norm"
        return (
            f"stage {name} was stopped: {found}; {kept}. "
            f"Lower stages.{name}.learning_rate ({peak(stage):g}){clip}"
        )

    def _settle(self, name: str, stage: Stage, last: int) -> None:
        best = self.best
        epochs = sum(row["stage"] == name for row in self.history.rows)
        if last < stage.epochs and epochs == last:
            _log.info("stage %s pauses after epoch %d", name, epochs)
        elif epochs < stage.epochs:
            _log.info("stage %s stopped early, after epoch %d", name, epochs)
        if not best.best_stage:
            raise RunError(f"the validation loss of stage {name} was never a number")
        best.restore()
        if best.best_stage == name:
            at = f"epoch {best.best_epoch}, validation loss {best.best_loss:.3f}"
            _log.info("stage %s: %s weights, from %s", name, stage.keep, at)
        else:
            _log.warning(
                "stage %s brought no better validation loss: the weights of stage %s are kept",
                name,
                best.best_stage,
            )


def _say_warmup(name: str, stage: Stage) -> None:
    used = warmup_epochs(stage)
    if used < in_epochs(stage.warmup_epochs, stage.epochs):
        _log.info("stage %s: warm-up shortened to %g epochs, half of the stage", name, used)


def _describe(model: keras.Model, blocks: list[str]) -> str:
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    what = f"the head and {blocks[0]} to {blocks[-1]}" if blocks else "the head alone"
    return f"{what} ({trained:,} parameters)"
