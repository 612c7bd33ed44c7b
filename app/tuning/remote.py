"""A search in another process, spoken to through Keras Tuner's own client."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc
from keras_tuner.src.distribute import oracle_client  # Keras Tuner makes it inside its tuners only

from app.errors import RunError
from app.tuning.chief import BEAT_SECONDS, PATIENCE_SECONDS


class RemoteSearch:
    """Has the methods of `Search` that a worker needs."""

    def __init__(self, address: str, name: str) -> None:
        """Prepares, and does not wait for an answer yet.

        Args:
            address: `HOST:PORT` of the chief.
            name: By which it knows this worker.
        """
        host, _, port = address.rpartition(":")
        os.environ["KERASTUNER_ORACLE_IP"], os.environ["KERASTUNER_ORACLE_PORT"] = host, port
        os.environ["KERASTUNER_TUNER_ID"] = name
        oracle_client.TIMEOUT = PATIENCE_SECONDS  # else an hour
        self._client = oracle_client.OracleClient(None)
        self._address = address

    def create_trial(self, tuner_id: str) -> Any:
        """See `Search.create_trial`."""
        return self._asked(lambda: self._client.create_trial(tuner_id))

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Any:
        """See `Search.update_trial`."""
        return self._asked(lambda: self._client.update_trial(trial_id, metrics, step))

    def end_trial(self, packet: Any) -> None:
        """See `Search.end_trial`."""
        self._asked(lambda: self._client.end_trial(packet))

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except grpc.RpcError as error:
            raise RunError(
                f"the chief at {self._address} has not answered for {PATIENCE_SECONDS / 60:.0f}"
                " minutes: start it again with its command, then this worker with its own"
            ) from error

    @contextmanager
    def beating(self, trial_id: str) -> Iterator[None]:
        """Says at intervals, from a thread beside the training, that this worker is there."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_SECONDS):
                with suppress(RunError):  # the worker itself will ask in vain, and say so
                    self.update_trial(trial_id, {})

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
