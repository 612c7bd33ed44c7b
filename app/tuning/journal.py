"""The journal of a search: every step a line, on the disk before it is taken.

Standard library only. What was killed while it wrote leaves half a line at most, which is no step.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.errors import RunError

Event = dict[str, Any]


class Journal:
    """Steps in their order, in a file that only grows.

    Attributes:
        events: All of them.
    """

    def __init__(self, path: Path) -> None:
        """Reads what there is, and takes away half a line at the end.

        Raises:
            RunError: If the file cannot be read, or a line of it is damaged.
        """
        self._path = path
        try:
            contents = path.read_bytes() if path.is_file() else b""
            whole = contents[: contents.rfind(b"\n") + 1]
            self.events: list[Event] = [_event(line) for line in whole.splitlines()]
            if len(whole) < len(contents):
                os.truncate(path, len(whole))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path} cannot be gone on with: {error}") from error
        self._size = len(whole)

    def write(self, event: Event) -> None:
        """Writes a step down; it is on the disk when this returns.

        Raises:
            RunError: If it cannot be written, such as on a full disk; the steps before it stay.
        """
        line = json.dumps(event).encode() + b"\n"
        try:
            with self._path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):
                os.truncate(self._path, self._size)
            raise RunError(
                f"{self._path} cannot be written ({error.strerror}): finished trials are kept;"
                " make room, then go on with the same command"
            ) from error
        self._size += len(line)
        self.events.append(event)


def _event(line: bytes) -> Event:
    event = json.loads(line)
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise ValueError(f"{line[:60]!r} is no step of a search")
    return event
