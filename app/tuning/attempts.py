"""How often a trial was begun at the same place: one that kills its process each time must end."""

from __future__ import annotations

import logging
from pathlib import Path

from app.tuning.journal import Event, Journal
from app.tuning.places import HALVED, halve
from app.tuning.request import Tuning

# So often a trial may be begun without coming any farther.
MOST = 5
_KILLS = Path("/proc/vmstat")
_log = logging.getLogger("graft")


class Attempts:
    """Keeps count in the journal, which outlives the processes."""

    def __init__(self, tuning: Tuning, journal: Journal) -> None:
        self._tuning, self._journal = tuning, journal

    def take(self, number: int) -> str | None:
        """Writes down that a trial is begun, or gone on with.

        A trial whose process the system killed for want of memory begins anew with half the
        batch, once.

        Returns:
            Why it should not be; None if it may.
        """
        place, kills = self._tuning.trial(number), killed_for_memory()
        before = self._since_it_was_left(number)
        if before and before[-1]["killed_for_memory"] < kills and not (place / HALVED).exists():
            _log.warning(
                "trial %d: the system killed its process for want of memory: it begins anew with"
                " half the batch",
                number,
            )
            halve(place)
        done = _done(place)
        if sum(event["done"] == done for event in before) >= MOST:
            return f"its process died {MOST} times at the same place"
        event = {"event": "taken", "trial": number, "done": done, "killed_for_memory": kills}
        self._journal.write(event)
        return None

    def leave(self, number: int) -> None:
        """Writes down that a trial was left on purpose."""
        self._journal.write({"event": "left", "trial": number})

    def _since_it_was_left(self, number: int) -> list[Event]:
        found: list[Event] = []
        for event in reversed(self._journal.events):
            if event.get("trial") == number:
                if event["event"] != "taken":
                    break
                found.insert(0, event)
        return found


def _done(place: Path) -> list[str]:
    """Names the newest checkpoint of each execution."""
    newest = {path.parent: path.name for path in sorted(place.rglob("checkpoints/*.npz"))}
    return [f"{folder.parent.name}/{name}" for folder, name in sorted(newest.items())]


def killed_for_memory() -> int:
    """Counts the processes that this machine has killed since it started; 0 if it does not say."""
    try:
        found = [line.split() for line in _KILLS.read_text("ascii").splitlines()]
    except OSError:
        return 0
    return next((int(count) for name, count in found if name == "oom_kill"), 0)
