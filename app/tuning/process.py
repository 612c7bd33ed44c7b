"""What a process of a search does: it proposes and trains, or one of the two."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.data.index import fingerprint
from app.recipe_file import load_recipe_file
from app.tuning.finishing import finish, measure
from app.tuning.images import images_of
from app.tuning.journal import Journal
from app.tuning.oracles import HYPERBAND
from app.tuning.request import Tuning
from app.tuning.searching import MOST_FAILURES, Search
from app.tuning.space import Space, build_space
from app.tuning.supervising import RESTART
from app.tuning.table import Table
from app.tuning.tidying import tidy
from app.tuning.training import Trainer
from app.tuning.trials import COMPLETED, Trial
from app.tuning.watching import OutOfTimeError
from app.tuning.working import MakesRoomError, Worker
from app.working import logged, many_networks

# Of the time that measuring the recipe as written took, what is kept for measuring the winner.
MEASURING_SHARE = 1.3
POLL_SECONDS = 0.2
_log = logging.getLogger("graft")


def search_alone(tuning: Tuning, until: float | None) -> int:
    """Proposes trials, trains them, and measures the winner, all in this process.

    Args:
        tuning: Of which.
        until: When all should be over, by `time.time()`; None for no such time.

    Returns:
        The exit code: 0, or `RESTART` for another process to go on in the place of this one.

    Raises:
        GraftError: If the search cannot be begun, or gone on with.
    """
    with _searching(tuning, until) as (search, table, journal):
        index, prepared = images_of(tuning)
        search.images = fingerprint(index)
        trainer = Trainer(tuning, index, before=prepared)
        search.told = _Teller(table, search, tuning, journal, until, trainer)
        try:
            Worker("alone", search, search.space, lambda _: trainer).work()
        except OutOfTimeError:
            pass
        except MakesRoomError:
            return RESTART
        _finish(search, trainer, table)
    return 0


def search_as_chief(tuning: Tuning, until: float | None, address: str) -> int:
    """Proposes trials to workers, and measures the winner; see `search_alone`.

    Args:
        tuning: Of which.
        until: When all should be over, by `time.time()`; None for no such time.
        address: `HOST:PORT` of this machine, at which workers ask.
    """
    from app.tuning.chief import Chief  # gRPC, which a search alone does without

    with _searching(tuning, until) as (search, table, journal):
        search.images = fingerprint(images_of(tuning)[0])
        search.told = _Teller(table, search, tuning, journal, until)
        chief = Chief(search)
        with chief.listening(address):  # to the end: who asks then is told that it is over
            while not chief.look():
                time.sleep(POLL_SECONDS)
            _finish(search, Trainer(tuning, images_of(tuning)[0]), table)
    return 0


def work_for_chief(tuning: Tuning, address: str, name: str, elsewhere: bool) -> int:
    """Trains what a chief hands out.

    Args:
        tuning: What is searched.
        address: `HOST:PORT` of the chief.
        name: By which it knows this worker.
        elsewhere: Whether it is on another machine, so that trials have a folder of their own.

    Returns:
        The exit code, as of `search_alone`.

    Raises:
        GraftError: If the chief does not answer, searches something else, or has other images.
    """
    from app.tuning.remote import RemoteSearch  # likewise

    remote = RemoteSearch(address, name)

    def trainer_of(search: str) -> Trainer:
        place = tuning.directory / f"worker-{search}" if elsewhere else tuning.directory
        place.mkdir(parents=True, exist_ok=True)
        index, prepared = images_of(Tuning(place, tuning.request))
        return Trainer(Tuning(place, tuning.request), index, before=prepared)

    with many_networks():
        worker = Worker(name, remote, space_of(tuning), trainer_of, remote.beating)
        try:
            worker.work()
        except OutOfTimeError:
            return 0
        except MakesRoomError:
            return RESTART
    return 0


@contextmanager
def _searching(tuning: Tuning, until: float | None) -> Iterator[tuple[Search, Table, Journal]]:
    with logged(tuning.log), many_networks():
        space, journal = space_of(tuning), Journal(tuning.journal)
        table = Table(tuning.request, until)
        search = Search(tuning, space, journal)
        tuning.results.unlink(missing_ok=True)  # it is not finished until it is written anew
        table.begin(search.trials.values())
        _log.info("searched:")
        for line in space.lines():
            _log.info("  %s", line)
        try:
            yield search, table, journal
        except BaseException:
            search.leave()
            raise
        finally:
            table.close()


def _finish(search: Search, trainer: Trainer, table: Table) -> None:
    search.leave()
    table.close()
    if search.broken:
        _log.warning(
            "%d trials in a row have failed, the last one since: %s; mend that, and --resume %s"
            " goes on with the search",
            MOST_FAILURES,
            search.broken,
            trainer.tuning.directory,
        )
    elif not search.is_done:
        _log.info("the time is over; --resume %s goes on with it", trainer.tuning.directory)
    _log.info("measuring the winner on the test images")
    finish(trainer, list(search.trials.values()))


def space_of(tuning: Tuning) -> Space:
    """Asks the recipe file what is worth searching.

    Raises:
        RecipeError: If that makes no sense.
    """
    request = tuning.request
    file = load_recipe_file(request.file)
    return build_space(request.recipe, file.search, file.path, request.algorithm)


@dataclass
class _Teller:
    """Looks after all else when a trial ends: table, checkpoints, and the time for measuring.

    Without a trainer, which is the case where others train, the recipe as written is measured
    last, and measuring is taken to last as long as training it did.
    """

    table: Table
    search: Search
    tuning: Tuning
    journal: Journal
    until: float | None
    trainer: Trainer | None = None

    def __post_init__(self) -> None:
        measured = [each for each in self.journal.events if each["event"] == "measured"]
        self._keep_time(measured[0]["seconds"] if measured else 0.0)

    def __call__(self, trial: Trial) -> None:
        self.table.told(trial)
        if not trial.number and trial.status == COMPLETED:
            seconds = self._measured(trial, self.trainer) if self.trainer else trial.outcome.seconds
            self.journal.write({"event": "measured", "trial": 0, "seconds": seconds})
            self._keep_time(seconds)
        if self.tuning.request.algorithm != HYPERBAND:  # which goes on with any of them
            tidy(self.tuning, self.search.trials.values())

    def _measured(self, trial: Trial, trainer: Trainer) -> float:
        began = time.monotonic()
        measure(trainer, trial)
        return time.monotonic() - began

    def _keep_time(self, seconds: float) -> None:
        """Ends training early enough to measure the winner, too."""
        if self.until is not None:
            self.search.ends = self.until - MEASURING_SHARE * seconds


def end_with(parent: int) -> None:
    """Ends this process as soon as its parent is no more, from a thread beside its work."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()
