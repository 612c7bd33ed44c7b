"""Keras Tuner's oracles, asked through a journal, with outcomes that are made up."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras_tuner import HyperParameters

from app import Data, Head, Recipe, Stage, override
from app.errors import RunError
from app.tuning.attempts import MOST, Attempts
from app.tuning.journal import Journal
from app.tuning.request import ALGORITHMS, Request, Tuning
from app.tuning.searching import ACCURACY, MOST_FAILURES, OUTCOME, WANTED, Search
from app.tuning.space import Space, build_space
from app.tuning.trials import COMPLETED, FAILED, RUNNING, STOPPED, Outcome, Trial, best_of

RECIPE = Recipe(
    name="small", data=Data(source="nowhere"), head=Head(dropout=0.2), stages={"head": Stage()}
)


def search_for(hp: HyperParameters) -> None:
    hp.Float("head.dropout", 0.0, 0.5, step=0.1)
    hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    hp.Choice("head.units", ["()", "128"])


def tuning_in(folder: Path, algorithm: str = "random", trials: int | None = 12) -> Tuning:
    request = Request(RECIPE, folder / "small.py", algorithm, trials=trials)
    folder.mkdir(parents=True, exist_ok=True)
    return Tuning(folder, request)


def space_of(algorithm: str = "random", asks: Callable[..., Any] = search_for) -> Space:
    return build_space(RECIPE, asks, "small.py", algorithm)


def open_search(tuning: Tuning) -> Search:
    return Search(tuning, space_of(tuning.request.algorithm), Journal(tuning.journal))


def outcome_of(number: int, values: dict[str, Any]) -> Outcome:
    """What follows from the values alone, as training would with one seed."""
    accuracy = round(random.Random(str(sorted(values.items()))).uniform(0.5, 0.9), 3)
    return Outcome(COMPLETED, accuracy, 1 - accuracy, 200, (accuracy - 0.1, accuracy), seconds=1.0)


def take(search: Search, worker: str = "one") -> tuple[Any, dict[str, Any]]:
    packet = search.create_trial(worker)
    values = dict(packet.hyperparameters.values)
    values.pop(WANTED, None)
    return packet, values


def end(search: Search, packet: Any, outcome: Outcome) -> None:
    packet.hyperparameters.values[OUTCOME] = json.dumps(outcome.to_plain())
    search.end_trial(packet)


def run_to_the_end(search: Search, most: int = 1000) -> list[Trial]:
    for _ in range(most):
        packet, values = take(search)
        if packet.status != "RUNNING":
            break
        end(search, packet, outcome_of(int(packet.trial_id), values))
    return [search.trials[number] for number in sorted(search.trials)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_first_trial_is_the_recipe_as_written(tmp_path: Path, algorithm: str) -> None:
    trials = run_to_the_end(open_search(tuning_in(tmp_path, algorithm)))
    assert len(trials) == 12
    assert not trials[0].changes
    assert all(trial.changes for trial in trials[1:])
    assert all(trial.status == COMPLETED for trial in trials)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_search_that_is_killed_at_any_step_ends_with_the_same_trials(
    tmp_path: Path, algorithm: str
) -> None:
    whole = run_to_the_end(open_search(tuning_in(tmp_path / "whole", algorithm)))
    cut = tuning_in(tmp_path / "cut", algorithm)
    for step in range(40):  # each opening sees what is on the disk alone
        search = open_search(cut)
        packet, values = take(search)
        if packet.status != "RUNNING":
            break
        if step % 3:  # a third are killed while a trial runs
            end(search, packet, outcome_of(int(packet.trial_id), values))
        else:
            search.leave()
    found = [search.trials[number] for number in sorted(search.trials)]
    assert [trial.changes for trial in found] == [trial.changes for trial in whole]
    assert best_of(found) == best_of(whole)


def test_a_grid_is_walked_once_and_ends_by_itself(tmp_path: Path) -> None:
    def asks(hp: HyperParameters) -> None:
        hp.Choice("head.dropout", [0.0, 0.3, 0.4])
        hp.Choice("head.units", ["()", "128"])

    tuning = tuning_in(tmp_path, "grid", None)
    search = Search(tuning, space_of("grid", asks), Journal(tuning.journal))
    trials = run_to_the_end(search)
    assert search.is_done
    assert len({json.dumps(dict(trial.changes)) for trial in trials}) == len(trials) == 7


def test_a_proposal_equal_to_a_finished_trial_is_not_trained_again(tmp_path: Path) -> None:
    def asks(hp: HyperParameters) -> None:
        hp.Choice("head.dropout", [0.2, 0.3])  # 0.2 is what is written

    tuning = tuning_in(tmp_path, "grid", None)
    search = Search(tuning, space_of("grid", asks), Journal(tuning.journal))
    asked = []
    for _ in range(5):
        packet, values = take(search)
        if packet.status != "RUNNING":
            break
        asked.append(int(packet.trial_id))
        end(search, packet, outcome_of(0, values))
    assert asked == [0, 2]
    assert search.trials[1].outcome.said == "the same as trial 0"
    assert search.trials[1].outcome.accuracy == search.trials[0].outcome.accuracy


def test_values_that_do_not_go_together_are_a_failed_trial(tmp_path: Path) -> None:
    def asks(hp: HyperParameters) -> None:
        hp.Choice("loss", ["cross_entropy", "hinge"])
        hp.Choice("label_smoothing", [0.0, 0.1])

    tuning = tuning_in(tmp_path, "grid", None)
    search = Search(tuning, space_of("grid", asks), Journal(tuning.journal))
    trials = run_to_the_end(search)
    failed = [trial for trial in trials if trial.status == FAILED]
    assert len(failed) == 1
    assert "hinge" in failed[0].outcome.said


def test_two_workers_share_the_trials_and_a_dead_ones_goes_to_another(tmp_path: Path) -> None:
    search = open_search(tuning_in(tmp_path, trials=3))
    first, _ = take(search, "one")
    second, values = take(search, "two")
    assert {first.trial_id, second.trial_id} == {"0000", "0001"}
    assert take(search, "one")[0].trial_id == first.trial_id  # it was started again
    third, _ = take(search, "three")
    assert take(search, "four")[0].status == "IDLE"
    assert search.give_back("one") == 0
    again, _ = take(search, "four")
    assert again.trial_id == first.trial_id
    end(search, first, outcome_of(0, {}))  # it was not dead after all
    end(search, again, Outcome(FAILED, said="too late"))
    assert search.trials[0].status == COMPLETED
    for packet in (second, third):
        end(search, packet, outcome_of(1, values))
    assert take(search, "one")[0].status == "STOPPED"
    assert search.is_done


def test_another_space_is_refused(tmp_path: Path) -> None:
    tuning = tuning_in(tmp_path)
    run_to_the_end(open_search(tuning), 3)

    def other(hp: HyperParameters) -> None:
        hp.Float("head.dropout", 0.0, 0.4, step=0.1)

    with pytest.raises(RunError, match="other hyperparameters"):
        Search(tuning, space_of("random", other), Journal(tuning.journal))


def test_an_oracle_that_proposes_otherwise_is_noticed(tmp_path: Path) -> None:
    tuning = tuning_in(tmp_path)
    run_to_the_end(open_search(tuning), 3)
    lines = tuning.journal.read_text().replace('"head.dropout": 0.', '"head.dropout": 1.')
    tuning.journal.write_text(lines)
    with pytest.raises(RunError, match="proposes other values"):
        open_search(tuning)


def test_hyperband_promotes_by_going_on_with_a_trial(tmp_path: Path) -> None:
    trials = run_to_the_end(open_search(tuning_in(tmp_path, "hyperband", 25)))
    promoted = [trial for trial in trials if trial.continues is not None]
    assert promoted
    for trial in promoted:
        before = trials[trial.continues or 0]
        assert trial.changes == before.changes
        assert (before.epochs or 0) < (trial.epochs or 0) <= 10


def test_a_hopeless_trial_is_told_to_stop_and_a_good_one_is_not(tmp_path: Path) -> None:
    search = open_search(tuning_in(tmp_path, trials=20))
    for _ in range(6):
        packet, _ = take(search)
        end(search, packet, Outcome(COMPLETED, 0.8, 0.5, 100, (0.6, 0.8), seconds=1.0))
    packet, _ = take(search)
    assert search.update_trial(packet.trial_id, {ACCURACY: 0.61}, 1).status == "RUNNING"
    assert search.update_trial(packet.trial_id, {}).status == "RUNNING"  # a sign of life
    early = search.update_trial(packet.trial_id, {ACCURACY: 0.5}, 2)
    assert early.status == "RUNNING"  # of ten epochs
    assert search.update_trial(packet.trial_id, {ACCURACY: 0.5}, 3).status == "STOPPED"
    end(search, packet, Outcome(STOPPED, 0.61, 0.9, 100, (0.61, 0.5)))
    found = best_of(list(search.trials.values()))
    assert found is not None
    assert found.status == COMPLETED


def test_a_trial_that_kills_its_process_again_and_again_fails(tmp_path: Path) -> None:
    tuning = tuning_in(tmp_path)
    for _ in range(MOST):
        assert take(open_search(tuning))[0].trial_id == "0000"
    packet, _ = take(open_search(tuning))
    search = open_search(tuning)
    assert packet.trial_id == "0001"
    assert search.trials[0].outcome.said == f"its process died {MOST} times at the same place"


def test_a_trial_that_comes_farther_each_time_or_is_left_on_purpose_goes_on(
    tmp_path: Path,
) -> None:
    tuning = tuning_in(tmp_path)
    checkpoints = tuning.trial(0) / "checkpoints"
    checkpoints.mkdir(parents=True)
    for step in range(3 * MOST):
        search = open_search(tuning)
        assert take(search)[0].trial_id == "0000"
        if step < MOST + 2:
            (checkpoints / f"{step:08d}.npz").touch()
        else:
            search.leave()


def test_a_process_that_the_system_killed_for_memory_begins_anew_with_half_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning = tuning_in(tmp_path)
    attempts = Attempts(tuning, Journal(tuning.journal))
    killed = iter((3, 3, 4, 5))
    monkeypatch.setattr("app.tuning.attempts.killed_for_memory", lambda: next(killed))
    place = tuning.trial(2)
    (place / "checkpoints").mkdir(parents=True)
    for halved in (False, False, True, True):
        assert attempts.take(2) is None
        assert (place / "batch_halved").exists() == halved
    assert not (place / "checkpoints").exists()


@given(st.integers(0, 400), st.binary(max_size=30))
def test_half_a_line_at_the_end_of_a_journal_is_no_step(cut: int, rubbish: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.jsonl")
        journal = Journal(path)
        for number in range(5):
            journal.write({"event": "taken", "trial": number, "done": ["é" * 10]})
        lines = path.read_bytes()
        whole = lines[:cut].rfind(b"\n") + 1
        path.write_bytes(lines[:cut] + rubbish.replace(b"\n", b""))
        again = Journal(path)
        assert len(again.events) == lines[:whole].count(b"\n")
        again.write({"event": "left"})
        assert Journal(path).events[-1] == {"event": "left"}


def test_a_damaged_line_within_a_journal_is_said(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event": "begun"}\nnonsense\n{"event": "left"}\n')
    with pytest.raises(RunError, match="cannot be gone on with"):
        Journal(path)


def test_an_open_trial_is_handed_out_again_after_a_restart(tmp_path: Path) -> None:
    tuning = tuning_in(tmp_path)
    search = open_search(tuning)
    take(search, "one")
    take(search, "two")
    again = open_search(tuning)
    assert [again.trials[number].status for number in (0, 1)] == [RUNNING, RUNNING]
    assert [take(again, name)[0].trial_id for name in ("a", "b", "c")] == ["0000", "0001", "0002"]


def test_a_search_whose_trials_all_fail_ends_and_can_be_gone_on_with(tmp_path: Path) -> None:
    tuning = tuning_in(tmp_path, trials=30)
    search = open_search(tuning)
    for number in range(MOST_FAILURES):
        packet, _ = take(search)
        assert packet.status == "RUNNING"
        end(search, packet, Outcome(FAILED, said=f"no weights {number}"))
    assert take(search)[0].status == "STOPPED"
    assert search.broken == f"no weights {MOST_FAILURES - 1}"
    assert search.is_over
    assert not search.is_done
    again = open_search(tuning)  # what was wrong is mended
    assert len(run_to_the_end(again)) == 30


def test_failures_between_trials_that_complete_end_nothing(tmp_path: Path) -> None:
    search = open_search(tuning_in(tmp_path, trials=3 * MOST_FAILURES))
    for number in range(3 * MOST_FAILURES):
        packet, values = take(search)
        good = number % (MOST_FAILURES - 1) == 0
        end(search, packet, outcome_of(number, values) if good else Outcome(FAILED, said="bad"))
    assert not search.broken
    assert len(search.trials) == 3 * MOST_FAILURES


def best_on_a_hill(folder: Path, algorithm: str, seed: int) -> float:
    """What a search finds on a smooth hill over two settings, whose top is 0.9."""

    def asks(hp: HyperParameters) -> None:
        hp.Float("learning_rate", 1e-5, 1e-1, sampling="log")
        hp.Float("head.dropout", 0.0, 0.9)

    request = Request(override(RECIPE, {"seed": seed}), folder / "x.py", algorithm, trials=30)
    folder.mkdir()
    tuning = Tuning(folder, request)
    space = build_space(request.recipe, asks, "x.py", algorithm)
    search = Search(tuning, space, Journal(tuning.journal))
    while (packet := search.create_trial("one")).status == "RUNNING":
        rate = packet.hyperparameters.values.get("learning_rate", 1e-5)
        dropout = packet.hyperparameters.values.get("head.dropout", 0.9)
        away = (math.log10(rate) + 2.5) ** 2 + (4 * (dropout - 0.3)) ** 2
        end(search, packet, Outcome(COMPLETED, 0.9 * math.exp(-away), 0.5, 10**6, (0.5,)))
    return max(each.outcome.accuracy or 0.0 for each in search.trials.values())


def test_bayesian_search_finds_the_top_of_a_hill_that_random_search_does_not(
    tmp_path: Path,
) -> None:
    found = {
        algorithm: [best_on_a_hill(tmp_path / f"{algorithm}{n}", algorithm, n) for n in range(5)]
        for algorithm in ("bayesian", "random")
    }
    assert min(found["bayesian"]) > 0.895
    assert statistics.fmean(found["random"]) < 0.88
