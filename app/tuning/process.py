"""What a process of a search does: it proposes and trains, or one of the two."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass

from app.recipe_file import load_recipe_file
from app.tuning.finishing import finish, measure
from app.tuning.images import images_of
from app.tuning.journal import Journal
from app.tuning.oracles import HYPERBAND
from app.tuning.request import Tuning
from app.tuning.searching import Search
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
    with logged(tuning.log), many_networks():
        space = space_of(tuning)
        journal = Journal(tuning.journal)
        table = Table(tuning.request, until)
        search = Search(tuning, space, journal)
        table.begin(search.trials.values())
        _say_space(space)
        index, prepared = images_of(tuning)
        trainer = Trainer(tuning, index, before=prepared)
        search.told = _Teller(table, search, trainer, journal, until)
        worker = Worker("alone", search, space, trainer)
        try:
            worker.work()
        except OutOfTimeError:
            search.leave()
            _log.info("the time is over; --resume %s goes on with it", tuning.directory)
        except MakesRoomError:
            return RESTART
        except BaseException:
            search.leave()
            raise
        finally:
            table.close()
        _log.info("measuring the winner on the test images")
        finish(trainer, list(search.trials.values()))
    return 0


def space_of(tuning: Tuning) -> Space:
    """Asks the recipe file what is worth searching.

    Raises:
        RecipeError: If that makes no sense.
    """
    request = tuning.request
    file = load_recipe_file(request.file)
    return build_space(request.recipe, file.search, file.path, request.algorithm)


def _say_space(space: Space) -> None:
    _log.info("searched:")
    for line in space.lines():
        _log.info("  %s", line)


@dataclass
class _Teller:
    """Looks after all else when a trial ends: table, checkpoints, and the time for measuring."""

    table: Table
    search: Search
    trainer: Trainer
    journal: Journal
    until: float | None

    def __post_init__(self) -> None:
        measured = [each for each in self.journal.events if each["event"] == "measured"]
        self._keep_time(measured[0]["seconds"] if measured else 0.0)

    def __call__(self, trial: Trial) -> None:
        self.table.told(trial)
        if not trial.number and trial.status == COMPLETED:
            began = time.monotonic()
            measure(self.trainer, trial)
            seconds = time.monotonic() - began
            self.journal.write({"event": "measured", "trial": 0, "seconds": seconds})
            self._keep_time(seconds)
        if self.trainer.tuning.request.algorithm != HYPERBAND:  # which goes on with any of them
            tidy(self.trainer.tuning, self.search.trials.values())

    def _keep_time(self, seconds: float) -> None:
        """Ends training early enough to measure the winner, too."""
        if self.until is not None:
            left = self.until - time.time() - MEASURING_SHARE * seconds
            self.trainer.until = time.monotonic() + left


def end_with(parent: int) -> None:
    """Ends this process as soon as its parent is no more, from a thread beside its work."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()
