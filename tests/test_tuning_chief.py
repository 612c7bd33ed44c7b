"""Keras Tuner's chief and its client, with trials that nobody trains."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from app import override
from app.data.index import Index, fingerprint
from app.errors import RecipeError, RunError
from app.tuning import remote as remote_module
from app.tuning.chief import LEASE_SECONDS, PATIENCE_SECONDS, Chief
from app.tuning.remote import RemoteSearch
from app.tuning.searching import ACCURACY, OUTCOME, Search
from app.tuning.space import build_space
from app.tuning.training import Trainer
from app.tuning.trials import COMPLETED, Outcome
from app.tuning.working import Worker
from tests.test_tuning_searching import (
    RECIPE,
    open_search,
    outcome_of,
    run_to_the_end,
    search_for,
    space_of,
    take,
    tuning_in,
)


class Clock:
    """Goes as a test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def address() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return open_search(tuning_in(tmp_path / "remote", trials=5))


def test_a_search_through_the_network_is_the_same_as_without(
    search: Search, tmp_path: Path, address: str
) -> None:
    alone = run_to_the_end(open_search(tuning_in(tmp_path / "alone", trials=5)))
    chief = Chief(search)
    with chief.listening(address):
        far = RemoteSearch(address, "far")
        while (packet := far.create_trial("far")).status == "RUNNING":
            number = int(packet.trial_id)
            told = far.update_trial(packet.trial_id, {ACCURACY: 0.7}, 1)
            assert told.status == "RUNNING"
            with far.beating(packet.trial_id):
                found = outcome_of(number, dict(search.trials[number].values))
            packet.hyperparameters.values[OUTCOME] = json.dumps(found.to_plain())
            far.end_trial(packet)
        assert packet.status == "STOPPED"
        assert chief.look()
    found_trials = [search.trials[number] for number in sorted(search.trials)]
    assert [each.changes for each in found_trials] == [each.changes for each in alone]
    assert [each.outcome for each in found_trials] == [each.outcome for each in alone]


def test_a_worker_that_falls_silent_gives_its_trial_back(search: Search) -> None:
    clock = Clock()
    chief = Chief(search, clock)
    lost = chief.create_trial("one")
    clock.now = LEASE_SECONDS - 1
    chief.update_trial(lost.trial_id, {})  # it is still there
    clock.now = 2 * LEASE_SECONDS - 2
    assert not chief.look()
    assert search.at_work == {"one": 0}
    clock.now = 2 * LEASE_SECONDS
    chief.look()
    assert not search.at_work
    assert chief.create_trial("two").trial_id == lost.trial_id


def test_a_chief_that_nobody_asks_does_not_wait_for_ever(search: Search) -> None:
    clock = Clock()
    chief = Chief(search, clock)
    clock.now = PATIENCE_SECONDS + 1
    with pytest.raises(RunError, match="no worker has been heard of for 10 minutes"):
        chief.look()


def test_when_the_time_is_over_workers_are_sent_home(search: Search) -> None:
    chief = Chief(search)
    search.ends = 0.0
    assert chief.create_trial("one").status == "STOPPED"
    assert chief.look()
    assert not search.is_done


def test_an_address_that_is_taken_is_said(search: Search, address: str) -> None:
    host, port = address.split(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        with (
            pytest.raises(RunError, match="cannot be listened at"),
            Chief(search).listening(address),
        ):
            pytest.fail("it listens")


def test_a_worker_whose_chief_is_gone_does_not_wait_for_ever(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_module, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(RunError, match="has not answered"):
        RemoteSearch(address, "far").create_trial("far")


def test_a_worker_of_another_recipe_is_refused(search: Search) -> None:
    def other(hp: object) -> None:
        hp.Float("head.dropout", 0.0, 0.4)  # type: ignore[attr-defined]  # Keras Tuner has no types

    def trainer_of(search: str) -> Trainer:
        pytest.fail("it would train")

    worker = Worker("far", search, space_of("random", other), trainer_of)
    with pytest.raises(RecipeError, match="searches another recipe"):
        worker.work()


def test_a_worker_may_have_its_images_elsewhere_but_no_other_ones(
    search: Search, tmp_path: Path
) -> None:
    elsewhere = override(RECIPE, {"data.source": "/elsewhere"})
    moved = build_space(elsewhere, search_for, "small.py", "random")
    trainer = Trainer(tuning_in(tmp_path / "far"), Index(("cat", "dog"), (), ()))
    search.images = fingerprint(trainer.index)[::-1]
    worker = Worker("far", search, moved, lambda _: trainer)
    with pytest.raises(RunError, match="images here are not those of the chief"):
        worker.work()


def test_a_trial_that_ends_twice_counts_once(search: Search) -> None:
    packet, _ = take(search)
    first = Outcome(COMPLETED, 0.8, 0.4, 10, (0.8,))
    for outcome in (first, Outcome(COMPLETED, 0.1, 4.0, 10, (0.1,))):
        packet.hyperparameters.values[OUTCOME] = json.dumps(outcome.to_plain())
        search.end_trial(packet)
    assert search.trials[0].outcome == first
