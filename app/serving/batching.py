"""One pool of threads that decodes files, and answers what is decoded in batches.

A thread that is free decodes a file, unless a whole batch of decoded images waits, or no file
does: then it takes as many images as wait, up to a batch, through the network. So batches grow
with the load by themselves, nothing ever waits for a batch to fill, and a request that is alone
goes from file to answer on one thread. Nobody computes what would come too late.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.exports.loaded import Arrays
from app.serving.errors import TooLateError

Pixels = NDArray[np.uint8]
# How much of the newest measurement goes into a running mean.
_NEW = 0.2
# How many times the mean a batch may take: what is begun is to be answered in time.
_SLOWEST = 2


class Network(Protocol):
    """What answers; see `app.exports.loaded.Loaded`."""

    def read(self, contents: bytes) -> Pixels | str:
        """Decodes a file, or says why it cannot."""

    def answer(self, pixels: Pixels) -> Arrays:
        """Answers images, a row each."""


@dataclass(frozen=True)
class Row:
    """The answer to one image: its row in the arrays of its batch."""

    arrays: Arrays
    number: int


@dataclass(eq=False)
class Task:
    """One image, or one call of a function, and where its answer goes.

    Attributes:
        network: That is asked.
        given: The bytes of a file, pixels as the network takes them, or a function to call.
        deadline: In seconds of `time.monotonic`; what cannot be answered by then is not begun.
        answer: Gets a `Row`, a text that says why a file cannot be read, or what the call gave.
    """

    network: Network
    given: Any
    deadline: float
    answer: asyncio.Future[Any]


class Batcher:
    """Threads that work off tasks."""

    def __init__(
        self, threads: int, most: int, at_once: int, seen: Callable[[int], None] = lambda rows: None
    ) -> None:
        """Starts the threads.

        Args:
            threads: One a core.
            most: Images in a batch.
            at_once: Batches in the network.
            seen: Is told the size of each batch.
        """
        self._most, self._at_once, self._seen = most, at_once, seen
        self._changed = threading.Condition()
        self._files: deque[Task] = deque()
        self._ready: deque[Task] = deque()
        self._batches, self._closed = 0, False
        self._batch_seconds = 0.0
        self._threads = [
            threading.Thread(target=self._work, name=f"graft-{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, tasks: Sequence[Task]) -> None:
        """Queues tasks; the caller sees to it that they are not too many."""
        with self._changed:
            for task in tasks:
                decoded = isinstance(task.given, np.ndarray)
                (self._ready if decoded else self._files).append(task)
            self._changed.notify(len(tasks))

    def close(self) -> None:
        """Ends the threads when all that waits is answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (tasks := self._next()) is not None:
            if isinstance(tasks, Task):
                self._prepare(tasks)
            else:
                self._answer(tasks)

    def _next(self) -> Task | list[Task] | None:
        """Waits for a file, or for a batch; None at the end."""
        with self._changed:
            while True:
                free = self._batches < self._at_once
                if free and (len(self._ready) >= self._most or (self._ready and not self._files)):
                    self._batches += 1
                    return self._take()
                if self._files:
                    return self._files.popleft()
                if self._closed and not self._ready:
                    self._changed.notify_all()
                    return None
                self._changed.wait()

    def _take(self) -> list[Task]:
        """Takes what waits for the network of the first task, in order."""
        network = self._ready[0].network
        taken: list[Task] = []
        others: list[Task] = []
        while self._ready and len(taken) < self._most:
            task = self._ready.popleft()
            (taken if task.network is network else others).append(task)
        self._ready.extendleft(reversed(others))
        if others:
            self._changed.notify()
        return taken

    def _prepare(self, task: Task) -> None:
        """Decodes a file, and leaves it for a batch; or does what is called."""
        if not self._in_time([task]):
            return
        found: Any
        try:
            found = task.given() if callable(task.given) else task.network.read(task.given)
        except Exception as error:  # whatever it is: who asked is told, and the thread goes on
            found = error
        if not isinstance(found, np.ndarray):
            _settle([task], [found])
            return
        task.given = found
        with self._changed:  # this thread looks for work next, so no other need be woken
            self._ready.append(task)

    def _answer(self, tasks: list[Task]) -> None:
        try:
            in_time = self._in_time(tasks)
            if in_time:
                self._ask(in_time)
        finally:
            with self._changed:
                self._batches -= 1
                self._changed.notify()

    def _ask(self, tasks: list[Task]) -> None:
        began = time.monotonic()
        self._seen(len(tasks))
        found: list[Any]
        try:
            arrays = tasks[0].network.answer(np.stack([task.given for task in tasks]))
            found = [Row(arrays, number) for number in range(len(tasks))]
        except Exception as error:  # as above
            found = [error] * len(tasks)
        took = time.monotonic() - began
        self._batch_seconds += _NEW * (took - self._batch_seconds)
        _settle(tasks, found)

    def _in_time(self, tasks: list[Task]) -> list[Task]:
        """Leaves out what nobody waits for, and what could not be answered by its deadline."""
        by = time.monotonic() + _SLOWEST * self._batch_seconds
        late = [task for task in tasks if task.deadline < by]
        if late:
            passed = TooLateError("the deadline passed while the request waited")
            _settle(late, [passed] * len(late))
            # What is refused only since batches were slow must not stay so without another try.
            self._batch_seconds *= 1 - _NEW
        return [task for task in tasks if task.deadline >= by and not task.answer.cancelled()]


def _settle(tasks: Sequence[Task], found: Sequence[Any]) -> None:
    """Hands answers to the event loop that waits for them, all in one call."""

    def settle() -> None:
        for task, each in zip(tasks, found, strict=True):
            if task.answer.done():  # nobody waits any more
                continue
            if isinstance(each, Exception):
                task.answer.set_exception(each)
            else:
                task.answer.set_result(each)

    loop = tasks[0].answer.get_loop()
    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop has ended, and with it everyone who waited
        if not loop.is_closed():
            raise
