"""How much may wait: what could not be answered in time is refused at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.serving.errors import BusyError, TooLargeError

# Of the time that is left until a deadline, how much of it the queue may be expected to take:
# what a queue is expected to take is a mean, and half of all waits are longer than that.
_SHARE = 0.5
# Of one row in a running mean: about the last hundred count.
_NEW = 0.02


class Gate:
    """Counts what is in the server. Everything happens on the event loop.

    Attributes:
        rows: Images that wait or are being answered.
        held: Bytes of bodies that are in memory.
        row_seconds: Between two answers while there is work: what one row costs everyone.
    """

    def __init__(
        self, most_rows: int, most_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Opens the gate.

        Args:
            most_rows: That may be inside.
            most_bytes: Likewise.
            clock: Tells seconds.
        """
        self.rows, self.held, self.row_seconds = 0, 0, 0.0
        self.most_rows, self.most_bytes = most_rows, most_bytes
        self._clock, self._since = clock, 0.0

    @property
    def wait(self) -> float:
        """How many seconds a row that comes now is expected to wait."""
        return self.rows * self.row_seconds

    @contextmanager
    def inside(self, rows: int, deadline: float) -> Iterator[None]:
        """Lets rows in until the block ends.

        Args:
            rows: Of one request.
            deadline: In seconds of the clock.

        Raises:
            TooLargeError: If they could never be let in.
            BusyError: If they cannot be now, or would not be answered in time.
        """
        if rows > self.most_rows:
            raise TooLargeError(f"{rows} rows are more than {self.most_rows}: divide the request")
        if self.rows + rows > self.most_rows:
            raise BusyError(f"{self.rows} images wait already: try again later")
        expected = (self.rows + rows) * self.row_seconds
        # Who finds nobody before them is let in: otherwise a slow answer might shut the gate.
        if self.rows and expected > _SHARE * (deadline - self._clock()):
            raise BusyError(
                f"it would take {expected:.1f} seconds, and there are not as many until the"
                " deadline: try again later"
            )
        if not self.rows:
            self._since = self._clock()
        self.rows += rows
        try:
            yield
            self._learn(rows)
        finally:
            self.rows -= rows
            self._since = self._clock()

    def _learn(self, rows: int) -> None:
        seconds = (self._clock() - self._since) / rows
        share = 1 - (1 - _NEW) ** rows
        self.row_seconds += share * (seconds - self.row_seconds)

    def hold(self, count: int) -> None:
        """Counts bytes that have come in.

        Raises:
            BusyError: If they are too many in all; they are not counted then.
        """
        if self.held + count > self.most_bytes:
            raise BusyError("the bodies of other requests take all memory there is for them")
        self.held += count

    def release(self, count: int) -> None:
        """Counts them out."""
        self.held -= count
