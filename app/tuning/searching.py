"""The search itself: an oracle of Keras Tuner whose every step is written down first.

What asks it for trials sees Keras Tuner's own interface, `create_trial`, `update_trial` and
`end_trial`: from this process, or from others through Keras Tuner's chief.
"""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keras_tuner import HyperParameters
from keras_tuner.engine.trial import Trial as Packet

from app.errors import RecipeError, RunError
from app.settings import to_json
from app.tuning.attempts import Attempts
from app.tuning.journal import Event, Journal
from app.tuning.oracles import SCORE, build_oracle, own_values, plain_values
from app.tuning.request import Tuning
from app.tuning.space import Space
from app.tuning.trials import COMPLETED, FAILED, RUNNING, STOPPED, Outcome, Trial, trials_of

# Beside the hyperparameters, a packet says what the oracle wants of the trial, and, on its way
# back, what came of it.
WANTED, OUTCOME = "graft/trial", "graft/outcome"
ACCURACY = "accuracy"
# Completed trials before the median says anything.
LEAST_TRIALS = 5
_log = logging.getLogger("graft")


class Search:
    """Trials proposed one after the other, and what came of them.

    Attributes:
        trials: All, by number.
        told: Is called with each trial that ends.
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
        self._request, self._space = tuning.request, space
        self._journal = journal
        self.told: Callable[[Trial], None] = lambda _: None
        self._attempts = Attempts(tuning, journal)
        known = trials_of(journal.events)
        self.trials: dict[int, Trial] = {}
        self._of_worker: dict[str, int] = {}  # who is at which trial
        self._given_back: list[int] = []
        self._own_id: dict[int, str] = {}  # what the oracle calls a trial
        self._asked: dict[str, int] = {}  # by who asked the oracle: one name for each trial
        self._oracle = build_oracle(
            self._request.algorithm,
            space.hyperparameters,
            self._request.recipe.seed,
            self._request.epochs,
            {f"{each.number - 1:04d}": each.values for each in known if each.number},
        )
        self._curves: dict[int, list[float]] = {}
        if journal.events:
            self._take_again()
        else:
            journal.write({"event": "begun", "space": space.config})
            self._take({"event": "created", **_plain(Trial(0))})
            self._given_back.append(0)

    def _take_again(self) -> None:
        first, *rest = self._journal.events
        if first.get("space") != json.loads(json.dumps(self._space.config)):
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
        number: int | str
        if tuner_id in self._of_worker:
            number = self._of_worker[tuner_id]
        else:
            number = self._given_back.pop() if self._given_back else self._propose()
        if isinstance(number, str):
            return Packet(HyperParameters(), status=number)
        self._of_worker[tuner_id] = number
        hopeless = self._attempts.take(number)
        if hopeless:
            del self._of_worker[tuner_id]
            self._write_end(number, Outcome(FAILED, said=hopeless))
            return self.create_trial(tuner_id)
        return self._packet(self.trials[number])

    def _propose(self) -> int | str:
        number = len(self.trials)
        if self._request.trials is not None and number >= self._request.trials:
            return "IDLE" if self._of_worker else "STOPPED"
        own = self._oracle.create_trial(f"for {number}")
        if own.status != "RUNNING":
            return "IDLE" if self._of_worker else "STOPPED"
        values = plain_values(own.hyperparameters.values)
        wanted = own_values(own.hyperparameters.values)
        before = [key for key, each in self._own_id.items() if each == wanted.get("trial_id")]
        changes, said = {}, ""
        try:
            changes = self._space.changes(values)
            recipe = self._space.recipe_of(values)
        except RecipeError as error:
            said = str(error)
        trial = Trial(number, values, changes, before[0] if before else None, wanted.get("epochs"))
        self._own_id[number] = own.trial_id
        self._take({"event": "created", **_plain(trial)})
        known = None if said else self._known(recipe, trial)
        if known is not None or said:
            outcome = Outcome(FAILED, said=said)
            if known is not None:
                same = f"the same as trial {known.number}"
                outcome = replace(known.outcome, seconds=0.0, said=same)
            self._write_end(number, outcome)
            return self._propose()
        return number

    def _known(self, recipe: Any, trial: Trial) -> Trial | None:
        """Finds a trial of the same recipe, of which it is known what came of it."""
        wanted = to_json(recipe)
        for each in self.trials.values():
            same = each.epochs == trial.epochs and each.number != trial.number
            if same and each.status == COMPLETED and to_json(self._recipe(each)) == wanted:
                return each
        return None

    def _recipe(self, of: Trial) -> Any:
        return self._space.recipe_of(of.values) if of.number else self._request.recipe

    def _take(self, event: Event) -> None:
        self._journal.write(event)
        (trial,) = trials_of([event])
        self.trials[trial.number] = trial

    def _packet(self, trial: Trial) -> Packet:
        packet = HyperParameters()
        packet.values = dict(trial.values)
        wanted = {"number": trial.number, "continues": trial.continues, "epochs": trial.epochs}
        packet.values[WANTED] = json.dumps(wanted)
        return Packet(packet, trial_id=f"{trial.number:04d}", status="RUNNING")

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Packet:
        """Takes the validation accuracy after an epoch.

        Args:
            trial_id: As the packet had it.
            metrics: Holds `accuracy`.
            step: Epochs that are over, of all stages.

        Returns:
            A packet of status STOPPED if the trial is hopeless, else RUNNING.
        """
        number = int(trial_id)
        curve = self._curves.setdefault(number, [])
        del curve[max(step - 1, 0) :]
        curve.append(float(metrics[ACCURACY]))
        hopeless = is_hopeless(curve, self._completed_before(number))
        stops = hopeless and number and self._request.algorithm != "hyperband"
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


def is_hopeless(curve: list[float], completed: list[tuple[float, ...]]) -> bool:
    """Tells whether a trial should stop, by the median rule.

    Its best accuracy so far is below the median, over the completed trials, of the mean
    accuracy up to the same epoch (Golovin et al. 2017, Google Vizier, section 3.2.2).

    Args:
        curve: Validation accuracy after each epoch so far.
        completed: The same of trials that have come to their end.
    """
    means = [statistics.fmean(each[: len(curve)]) for each in completed if each]
    return len(means) >= LEAST_TRIALS and max(curve) < statistics.median(means)


def _plain(trial: Trial) -> Event:
    return {
        "trial": trial.number,
        "values": dict(trial.values),
        "changes": dict(trial.changes),
        "continues": trial.continues,
        "epochs": trial.epochs,
    }
