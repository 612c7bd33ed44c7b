"""What trains trials: asks for one, trains it, says what came of it, and asks again."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from app.data.index import fingerprint
from app.errors import RecipeError, RunError
from app.tuning.places import apart
from app.tuning.searching import ACCURACY, OUTCOME, WANTED
from app.tuning.space import Space
from app.tuning.training import Trainer
from app.tuning.trials import FAILED, Outcome, Trial

# What Keras keeps of each trial adds up: a process that has taken so much more memory than its
# first trial left it with makes room for another.
MOST_GROWTH_KB = 1_500_000
# Between two times of asking, while others still train.
PAUSE_SECONDS = 0.5


class MakesRoomError(Exception):
    """The process has grown enough: another is to go on in its place."""


@dataclass
class Worker:
    """Trains what an oracle hands out.

    Attributes:
        name: By which the oracle knows it.
        oracle: A `Search`, or what speaks to one in another process.
        space: Turns values into recipes.
        trainer_of: Makes what trains them, told which search they are of, when the first comes.
        at_work: Surrounds the training of each, told what the oracle calls it.
    """

    name: str
    oracle: Any
    space: Space
    trainer_of: Callable[[str], Trainer]
    at_work: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext()
    _trainer: Trainer | None = None
    _first_kb: int = 0

    def work(self) -> None:
        """Trains until nothing is left to do.

        Raises:
            OutOfTimeError: If the time is over first.
            MakesRoomError: If the process has grown too large.
        """
        while True:
            packet = self.oracle.create_trial(self.name)
            if packet.status == "STOPPED":
                return
            if packet.status == "IDLE":
                time.sleep(PAUSE_SECONDS)
                continue
            outcome = self._trained(packet)
            packet.hyperparameters.values[OUTCOME] = json.dumps(outcome.to_plain())
            packet.status = "COMPLETED"
            self.oracle.end_trial(packet)
            self._look_at_memory()

    def _trained(self, packet: Any) -> Outcome:
        values = dict(packet.hyperparameters.values)
        wanted = json.loads(values.pop(WANTED))
        if wanted["of"] != self.space.digest:
            raise RecipeError(
                "the chief searches another recipe, or in another space: start the worker with the"
                " same file and settings, and the same version of graft"
            )
        trial = Trial(wanted["number"], values, {}, wanted["continues"], wanted["epochs"])
        try:
            recipe = self.space.recipe_of(values) if trial.number else self.space.recipe
        except RecipeError as error:
            return Outcome(FAILED, said=str(error))
        trainer = self._trainer = self._trainer or self.trainer_of(wanted["search"])
        if fingerprint(trainer.index) != wanted["images"]:
            raise RunError(
                "the images here are not those of the chief: copy its folder of images, and start"
                " the worker with --data.source of the copy"
            )
        trainer.until = time.monotonic() + wanted["seconds_left"]
        with apart(trainer.tuning.trial(trial.number)), self.at_work(packet.trial_id):
            return trainer.train(trial, recipe, self._watching(packet.trial_id))

    def _watching(self, trial_id: str) -> Callable[[tuple[float, ...]], bool]:
        told = 0

        def watching(curve: tuple[float, ...]) -> bool:
            nonlocal told
            status = "RUNNING"
            for step, accuracy in list(enumerate(curve, 1))[told:]:
                answer = self.oracle.update_trial(trial_id, {ACCURACY: accuracy}, step)
                status = answer.status
            told = len(curve)
            return bool(status == "STOPPED")

        return watching

    def _look_at_memory(self) -> None:
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._first_kb = self._first_kb or now
        if now - self._first_kb > MOST_GROWTH_KB:
            raise MakesRoomError
