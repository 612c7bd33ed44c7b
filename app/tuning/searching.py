"""The search itself: an oracle of Keras Tuner whose every step is written down first.

What asks it for trials sees Keras Tuner's own interface, `create_trial`, `update_trial` and
`end_trial`: from this process, or from others through Keras Tuner's chief.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace

from keras_tuner import HyperParameters
from keras_tuner.engine.trial import Trial as Packet

from app.errors import RecipeError, RunError
from app.kinds import Leaf
from app.recipe import Recipe, override
from app.tuning.attempts import Attempts
from app.tuning.journal import Event, Journal
from app.tuning.median import is_hopeless
from app.tuning.oracles import HYPERBAND, SCORE, build_oracle, own_values, plain_values
from app.tuning.request import Tuning
from app.tuning.space import Space
from app.tuning.trials import COMPLETED, FAILED, RUNNING, STOPPED, Outcome, Trial, trials_of

# Beside the hyperparameters, a packet says what the oracle wants of the trial, and, on its way
# back, what came of it.
WANTED, OUTCOME = "graft/trial", "graft/outcome"
ACCURACY = "accuracy"
# So many trials in a row do not fail by their settings.
MOST_FAILURES = 10


class Search:
    """Trials proposed one after the other, and what came of them.

    Attributes:
        space: What may be proposed.
        trials: All, by number.
        told: Is called with each trial that ends.
        ends: When training should stop, by `time.time()`.
        is_done: Whether all that was asked for is over.
        broken: Why it ends before its time, as too many trials in a row have failed; or empty.
        of: What it is of, hashed.
        images: On which, by fingerprint, once they are known.
    """

    def __init__(
        self,
        tuning: Tuning,
        space: Space,
        journal: Journal,
    ) -> None:
        """Takes every step of the journal again, so that it goes on as if never stopped.

        Args:
            tuning: What is searched, and how, and where its trials lie.
            space: What may be proposed.
            journal: Empty, or of the same search.

        Raises:
            RunError: If the journal is of another space, or the oracle proposes otherwise than
                it did.
        """
        self._request, self.space = tuning.request, space
        self._journal = journal
        self.told: Callable[[Trial], None] = lambda _: None
        self.ends, self.is_done, self.broken = math.inf, False, ""
        self._failed_in_a_row = 0
        self._attempts = Attempts(tuning, journal)
        self.of, self.images = space.digest, ""
        known = trials_of(journal.events)
        self.trials: dict[int, Trial] = {}
        self._of_worker: dict[str, int] = {}  # who is at which trial
        self._given_back: list[int] = []
        self._own_id: dict[int, str] = {}  # what the oracle calls a trial
        self._oracle = build_oracle(
            self._request.algorithm,
            space.hyperparameters,
            self._request.recipe.seed,
            self._request.recipe.epochs,
            {f"{each.number - 1:04d}": each.values for each in known if each.number},
        )
        self._curves: dict[int, list[float]] = {}
        if journal.events:
            self._take_again()
        else:
            begun = {"event": "begun", "space": space.config, "search": uuid.uuid4().hex[:12]}
            journal.write(begun)
            self._take(Trial(0))
            self._given_back.append(0)

    def _take_again(self) -> None:
        first, *rest = self._journal.events
        if first.get("space") != json.loads(json.dumps(self.space.config)):
            raise RunError(
                "search(hp) asks for other hyperparameters than when this tuning was begun:"
                " put it back as it was, or begin a new tuning with --output"
            )
        for event in rest:
            if event["event"] == "created":
                self._create_again(event)
            elif event["event"] == "ended":
                self._end(event["trial"], Outcome.from_plain(event["outcome"]))
        open_ones = [each.number for each in self.trials.values() if each.status == RUNNING]
        self._given_back = sorted(open_ones, reverse=True)

    def _create_again(self, event: Event) -> None:
        (trial,) = trials_of([event])
        if trial.number:
            own = self._oracle.create_trial(f"for {trial.number}")
            values = plain_values(own.hyperparameters.values)
            if json.loads(json.dumps(values)) != event["values"]:
                raise RunError(
                    f"the search proposes other values for trial {trial.number} than it did"
                    f" ({values} and not {event['values']}): go on with the versions of Keras"
                    " Tuner and Python that it was begun with, or begin a new one with --output"
                )
            self._own_id[trial.number] = own.trial_id
        self.trials[trial.number] = trial

    def create_trial(self, tuner_id: str) -> Packet:
        """Proposes a trial; the same again to who has one that has not ended.

        Args:
            tuner_id: Who asks.

        Returns:
            A packet of status RUNNING; IDLE if all that can be said now is to ask again; or
            STOPPED if there is nothing left to do.
        """
        if tuner_id not in self._of_worker and not self.broken:
            number = self._next()
            if number is None:
                self.is_done = not self._of_worker and not self.broken
                return Packet(HyperParameters(), status="STOPPED" if self.is_over else "IDLE")
            self._of_worker[tuner_id] = number
        if self.broken or self.ends <= time.time():
            return Packet(HyperParameters(), status="STOPPED")
        number = self._of_worker[tuner_id]
        hopeless = self._attempts.take(number)
        if hopeless:
            del self._of_worker[tuner_id]
            self._write_end(number, Outcome(FAILED, said=hopeless))
            return self.create_trial(tuner_id)
        return self._packet(self.trials[number])

    @property
    def is_over(self) -> bool:
        """Whether nothing more is handed out."""
        return self.is_done or bool(self.broken) or self.ends <= time.time()

    @property
    def at_work(self) -> dict[str, int]:
        """Who is at which trial."""
        return dict(self._of_worker)

    def _next(self) -> int | None:
        """Returns the trial to train next; None if there is none now."""
        if self._given_back:
            return self._given_back.pop()
        most = math.inf if self._request.trials is None else self._request.trials
        while len(self.trials) < most and not self.broken:
            number = len(self.trials)
            own = self._oracle.create_trial(f"for {number}")
            if own.status != "RUNNING":
                break
            outcome = self._create(number, own)
            if outcome is None:
                return number
            self._write_end(number, outcome)
        return None

    def _create(self, number: int, own: Packet) -> Outcome | None:
        """Writes down what the oracle proposes; returns its outcome if that is known already."""
        values = plain_values(own.hyperparameters.values)
        wanted = own_values(own.hyperparameters.values)
        before = [key for key, each in self._own_id.items() if each == wanted.get("trial_id")]
        changes: dict[str, Leaf] = {}
        said = ""
        try:
            changes = self.space.changes(values)
            recipe = self._changed(changes)
        except RecipeError as error:
            said = str(error)
        trial = Trial(number, values, changes, before[0] if before else None, wanted.get("epochs"))
        self._own_id[number] = own.trial_id
        self._take(trial)
        if said:
            return Outcome(FAILED, said=said)
        known = self._known(recipe, trial)
        if known is None:
            return None
        return replace(known.outcome, seconds=0.0, said=f"the same as trial {known.number}")

    def _known(self, recipe: Recipe, trial: Trial) -> Trial | None:
        """Finds a trial of the same recipe, of which it is known what came of it."""
        for each in self.trials.values():
            same = each.epochs == trial.epochs and each.number != trial.number
            if same and each.status == COMPLETED and self._changed(each.changes) == recipe:
                return each
        return None

    def _changed(self, changes: Mapping[str, Leaf]) -> Recipe:
        return override(self._request.recipe, changes)

    def _take(self, trial: Trial) -> None:
        self._journal.write(trial.to_event())
        self.trials[trial.number] = trial

    def _packet(self, trial: Trial) -> Packet:
        packet = HyperParameters()
        packet.values = dict(trial.values)
        wanted = {
            "number": trial.number,
            "continues": trial.continues,
            "epochs": trial.epochs,
            "search": self._journal.events[0]["search"],
            "of": self.of,
            "images": self.images,
            "seconds_left": self.ends - time.time(),
        }
        packet.values[WANTED] = json.dumps(wanted)
        return Packet(packet, trial_id=f"{trial.number:04d}", status="RUNNING")

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Packet:
        """Takes the validation accuracy after an epoch.

        Args:
            trial_id: As the packet had it.
            metrics: Holds `accuracy`; empty where a worker only says that it is there.
            step: Epochs that are over, of all stages.

        Returns:
            A packet of status STOPPED if the trial is hopeless, else RUNNING.
        """
        if not metrics:
            return Packet(HyperParameters(), trial_id, status="RUNNING")
        number = int(trial_id)
        curve = self._curves.setdefault(number, [])
        del curve[max(step - 1, 0) :]
        curve.append(float(metrics[ACCURACY]))
        epochs = self._changed(self.trials[number].changes).epochs
        hopeless = is_hopeless(curve, self._completed_before(number), epochs)
        stops = hopeless and number and self._request.algorithm != HYPERBAND
        return Packet(HyperParameters(), trial_id, status="STOPPED" if stops else "RUNNING")

    def _completed_before(self, number: int) -> list[tuple[float, ...]]:
        return [
            each.outcome.curve
            for each in self.trials.values()
            if each.status == COMPLETED and each.number < number
        ]

    def end_trial(self, packet: Packet) -> None:
        """Takes what came of a trial; of one that has ended already it takes nothing."""
        number = int(packet.trial_id)
        plain = json.loads(packet.hyperparameters.values[OUTCOME])
        self._of_worker = {who: each for who, each in self._of_worker.items() if each != number}
        if self.trials[number].status == RUNNING:
            self._write_end(number, Outcome.from_plain(plain))

    def give_back(self, tuner_id: str) -> int | None:
        """Takes the trial of a worker that is no more, for the next one that asks."""
        number = self._of_worker.pop(tuner_id, None)
        if number is not None:
            self._given_back.append(number)
        return number

    def leave(self) -> None:
        """Writes down that whoever trains was asked to stop, and did not die."""
        for number in self._of_worker.values():
            self._attempts.leave(number)

    def _write_end(self, number: int, outcome: Outcome) -> None:
        self._journal.write({"event": "ended", "trial": number, "outcome": outcome.to_plain()})
        self._end(number, outcome)
        self._failed_in_a_row = self._failed_in_a_row + 1 if outcome.status == FAILED else 0
        if self._failed_in_a_row >= MOST_FAILURES:
            self.broken = outcome.said
        self.told(self.trials[number])

    def _end(self, number: int, outcome: Outcome) -> None:
        before = self.trials[number]
        self.trials[number] = replace(before, outcome=outcome)
        self._curves.pop(number, None)
        if not number:
            return
        own = self._oracle.get_trial(self._own_id[number])
        if outcome.status in (COMPLETED, STOPPED) and outcome.score is not None:
            self._oracle.update_trial(own.trial_id, {SCORE: outcome.score})
            own.status = "COMPLETED"
        else:
            own.status, own.message = "FAILED", outcome.said
        self._oracle.end_trial(own)
