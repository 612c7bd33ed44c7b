"""Training a trial: a run that is not measured on the test images."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.data.index import Index
from app.errors import GraftError, NoRoomError
from app.evaluation.many_labels import THRESHOLD
from app.files import write_whole
from app.models import probabilities
from app.preparation import prepare
from app.prepared import Prepared
from app.recipe import Recipe, override
from app.settings import to_json
from app.training import devices
from app.training.learner import Learner
from app.tuning.folds import folds_of
from app.tuning.places import HALVED, OUTCOME, RECIPE, halve, read_outcome, take_over
from app.tuning.request import Tuning
from app.tuning.trials import COMPLETED, FAILED, STOPPED, Outcome, Trial
from app.tuning.watching import HopelessError, InTime, OutOfTimeError, Watch, Watching, curve_of
from app.working import logged

_log = logging.getLogger("graft")


@dataclass(frozen=True)
class _Execution:
    """One training of a trial: name of its directory, what is added to the seed, the images."""

    name: str
    seed: int
    index: Index


@dataclass(frozen=True)
class _Executed:
    """What came of it: whether each validation image was named rightly, loss, accuracies."""

    right: NDArray[np.bool_]
    loss: float
    curve: tuple[float, ...]


@dataclass
class Trainer:
    """Trains trials one after the other, each on the backbone of the one before it if it can.

    Attributes:
        tuning: Where their directories lie.
        index: The images of the recipe as written.
        until: When training stops where it is, by `time.monotonic()`.
        before: What was made ready last.
    """

    tuning: Tuning
    index: Index
    until: float = math.inf
    before: Prepared | None = field(default=None, repr=False)

    def train(self, trial: Trial, recipe: Recipe, watching: Watching) -> Outcome:
        """Trains one, from its last checkpoint on if there is one.

        What goes wrong in it is its outcome, and ends nothing else. Where memory does not
        suffice, it begins anew with half the batch, once.

        Args:
            trial: Its number, and which other it goes on with.
            recipe: Of it.
            watching: Is told of each epoch of its first execution.

        Raises:
            OutOfTimeError: If the time is over first.
            OSError: If nothing more can be written.
        """
        place = self.tuning.trial(trial.number)
        place.mkdir(parents=True, exist_ok=True)
        ended = read_outcome(place)
        if ended:
            return ended
        with logged(place / "log.txt"):
            began = time.monotonic()
            outcome = self._tried(trial, recipe, watching, place)
            outcome = replace(outcome, seconds=round(time.monotonic() - began, 3))
        write_whole(place / OUTCOME, json.dumps(outcome.to_plain()) + "\n")
        return outcome

    def prepared(self, recipe: Recipe, index: Index | None = None) -> Prepared:
        """Makes a recipe ready, on the backbone of the one before it if that will do."""
        self.before = prepare(recipe, index or self.index, self.before)
        return self.before

    def _tried(self, trial: Trial, recipe: Recipe, watching: Watching, place: Path) -> Outcome:
        for _ in range(2):
            halved = (place / HALVED).is_file()
            wanted = with_half_the_batch(recipe) if halved else recipe
            try:
                outcome = self._trained(trial, wanted, watching, place)
                said = f"batch halved to {wanted.data.batch_size}, for memory" if halved else ""
                return replace(outcome, halved=halved, said=said)
            except (OutOfTimeError, OSError, NoRoomError):
                raise  # on a full disk no other trial will do better
            except GraftError as error:
                return Outcome(FAILED, said=" ".join(str(error).split()))
            except (tf.errors.ResourceExhaustedError, MemoryError) as error:
                _log.warning("out of memory: %s", " ".join(str(error).split())[:300])
                self.before = None
                if halved:
                    break
                halve(place)
            except Exception as error:  # whatever it is, the other trials go on
                _log.exception("the trial failed")
                what = " ".join(str(error).split())[:300]
                return Outcome(FAILED, said=f"{type(error).__name__}: {what}")
        return Outcome(FAILED, said="out of memory, with half the batch, too")

    def _trained(self, trial: Trial, recipe: Recipe, watching: Watching, place: Path) -> Outcome:
        if not (place / RECIPE).is_file():
            write_whole(place / RECIPE, to_json(recipe))
        executed: list[_Executed] = []
        for execution in self._executions():
            watched = [] if executed else [Watch(watching)]
            try:
                executed.append(self._execute(trial, recipe, execution, watched, place))
            except HopelessError as error:
                accuracy, loss = error.best
                count = len(execution.index.split("validation"))
                return Outcome(STOPPED, accuracy, loss, count, error.curve)
        weights = [len(each.right) for each in executed]
        right = np.concatenate([each.right for each in executed])
        return Outcome(
            COMPLETED,
            accuracy=float(right.mean()),
            loss=float(np.average([each.loss for each in executed], weights=weights)),
            images=len(right),
            curve=executed[0].curve,
            right=tuple("".join("01"[int(bit)] for bit in each.right) for each in executed),
        )

    def _executions(self) -> list[_Execution]:
        request = self.tuning.request
        if request.folds:
            folds = folds_of(self.index, request.folds, request.recipe.seed)
            return [_Execution(f"fold-{n}", 0, each) for n, each in enumerate(folds, 1)]
        others = range(1, request.executions)
        return [
            _Execution("", 0, self.index),
            *(_Execution(f"execution-{n + 1}", n, self.index) for n in others),
        ]

    def _execute(
        self,
        trial: Trial,
        recipe: Recipe,
        execution: _Execution,
        watched: list[Watch],
        place: Path,
    ) -> _Executed:
        directory = place / execution.name
        recipe = override(recipe, {"seed": recipe.seed + execution.seed})
        directory.mkdir(exist_ok=True)
        if not (directory / RECIPE).is_file():
            write_whole(directory / RECIPE, to_json(recipe))
        if trial.continues is not None:
            take_over(self.tuning.trial(trial.continues), directory)
        with devices.strategy_over(devices.gpus()):
            prepared = self.prepared(recipe, execution.index)
            beside = [*watched, InTime(self.until)]
            right: list[NDArray[np.bool_]] = []  # of each stage
            trainer = prepared.trainer(
                directory,
                pause=trial.epochs,
                beside=beside,
                settled=lambda learner: right.append(_right(learner, prepared)),
            )
            for each in watched:
                each.trainer = trainer
            trainer.train(recipe.stages)
        return _Executed(right[-1], trainer.best.best_loss, curve_of(trainer))


def with_half_the_batch(recipe: Recipe) -> Recipe:
    """Returns a recipe that needs less memory."""
    return override(recipe, {"data.batch_size": max(recipe.data.batch_size // 2, 1)})


def _right(learner: Learner, prepared: Prepared) -> NDArray[np.bool_]:
    """Tells of each validation image whether what a stage fitted names it rightly.

    Without compiling anything, which would take longer than all images of a small set.
    """
    many, found = prepared.index.many_labels, []
    for rows, labels in learner.validation:
        parts = [part.numpy() for part in tf.nest.flatten(rows)]
        # What lies above the frozen boundary takes a list, and the whole a tensor.
        inputs = parts[0] if learner.model is prepared.model else parts
        shares = probabilities(learner.model(inputs, training=False), many)
        shares, labels = keras.ops.convert_to_numpy(shares), labels.numpy()
        if many:
            found.append(((shares >= THRESHOLD) == (labels >= THRESHOLD)).all(axis=1))
        else:
            found.append(shares.argmax(axis=1) == labels)
    return np.concatenate(found)
