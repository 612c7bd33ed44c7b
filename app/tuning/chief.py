"""Keras Tuner's chief, watched: workers that fall silent give their trials back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from keras_tuner.src import protos  # Keras Tuner starts its chief itself only where it waits
from keras_tuner.src.distribute.oracle_chief import OracleServicer  # for ever

from app.errors import RunError
from app.tuning.searching import Search

# A worker says every BEAT_SECONDS that it is there; one that has not for so long is no more.
LEASE_SECONDS, BEAT_SECONDS = 60.0, 5.0
# So long a chief waits for any worker, and a worker for its chief.
PATIENCE_SECONDS = 600.0
# So long after the end of training, a worker may take to notice it.
GRACE_SECONDS = 10.0
_log = logging.getLogger("graft")


class Chief:
    """Hands out the trials of a search to other processes."""

    def __init__(self, search: Search, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepares.

        Args:
            search: Is asked by one at a time.
            clock: Says the time in seconds.
        """
        self._search, self._clock = search, clock
        self._lock = threading.RLock()
        self._heard: dict[int, float] = {}  # when, by trial
        self._last = clock()

    def create_trial(self, tuner_id: str) -> Any:
        """See `Search.create_trial`."""
        with self._lock:
            packet = self._search.create_trial(tuner_id)
            self._hear(self._search.at_work.get(tuner_id))
            return packet

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Any:
        """See `Search.update_trial`."""
        with self._lock:
            self._hear(int(trial_id))
            return self._search.update_trial(trial_id, metrics, step)

    def end_trial(self, packet: Any) -> None:
        """See `Search.end_trial`."""
        with self._lock:
            self._hear(None)
            self._search.end_trial(packet)

    def _hear(self, number: int | None) -> None:
        self._last = self._clock()
        if number is not None:
            self._heard[number] = self._last

    def look(self) -> bool:
        """Takes back the trials of workers that are no more.

        Returns:
            Whether the search is over.

        Raises:
            RunError: If no worker has been heard of for too long.
        """
        with self._lock:
            now = self._clock()
            if self._search.is_done:
                return True
            if self._search.is_over:  # its time has passed
                return not self._search.at_work or time.time() > self._search.ends + GRACE_SECONDS
            for worker, number in self._search.at_work.items():
                if now - self._heard.setdefault(number, now) > LEASE_SECONDS:
                    self._search.give_back(worker)
                    del self._heard[number]
                    _log.warning("%s fell silent: its trial %d is given to another", worker, number)
            if now - self._last > PATIENCE_SECONDS:
                raise RunError(
                    f"no worker has been heard of for {PATIENCE_SECONDS / 60:.0f} minutes: start"
                    " some with `graft tune RECIPE --worker HOST:PORT`, then go on with the same"
                    " command"
                )
            return False

    @contextmanager
    def listening(self, address: str) -> Iterator[None]:
        """Answers workers.

        Args:
            address: `HOST:PORT` of this machine.

        Raises:
            RunError: If that cannot be listened at.
        """
        server = grpc.server(ThreadPoolExecutor(max_workers=1))
        protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(self), server)
        try:
            server.add_insecure_port(address)
        except RuntimeError as error:
            raise RunError(
                f"{address} cannot be listened at: is it of this machine, and free?"
            ) from error
        server.start()
        try:
            yield
        finally:
            server.stop(grace=1).wait()
