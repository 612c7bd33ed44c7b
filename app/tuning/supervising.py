"""The processes of a search: started, watched, and started again if they die.

Standard library only, so that it stays small however long the search.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import RunError
from app.tuning.request import Tuning, to_plain

INTERRUPTED = 130
RESTART = 75  # the exit code of a process that asks for another in its place
_CODE = "import sys; from app import tuning_command; sys.exit(tuning_command.process())"
# So many deaths in a row, without a step of the search between them, are not bad luck.
MOST_DEATHS = 8
_POLL_SECONDS = 0.1
_log = logging.getLogger("graft")


def supervise(tuning: Tuning, until: float | None) -> int:
    """Searches in a process of its own, which another replaces if it dies.

    Args:
        tuning: Its `tuning.json` is there.
        until: When all should be over, by `time.time()`.

    Returns:
        The exit code of the search.

    Raises:
        RunError: If the process dies again and again before it comes to anything.
    """
    deaths, size = 0, -1
    while True:
        with _running(tuning, until, "alone") as process:
            code = process.wait()
        if code == RESTART:
            continue
        if 0 <= code <= 2 or code == INTERRUPTED:
            return code  # 1 is a defect of graft, which has shown itself
        now = tuning.journal.stat().st_size if tuning.journal.is_file() else 0
        deaths, size = (deaths + 1, size) if now == size else (1, now)
        if deaths >= MOST_DEATHS:
            raise RunError(
                f"the process of the search died {deaths} times in a row ({_reason(code)}):"
                f" {tuning.log} has what it said last"
            )
        _log.warning("the process of the search died (%s): it is started again", _reason(code))


@contextmanager
def _running(tuning: Tuning, until: float | None, role: str) -> Iterator[subprocess.Popen[bytes]]:
    asked = {
        "directory": str(tuning.directory),
        "request": to_plain(tuning.request),
        "until": until,
        "role": role,
        "parent": os.getpid(),
    }
    # -P: what lies in the folder of the user is not imported in place of graft.
    command = [sys.executable, "-P", "-c", _CODE, json.dumps(asked)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        yield process
    except BaseException:
        _stop(process)
        raise


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Lets it stop cleanly: Ctrl-C has reached it, too, or is sent to it now."""
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
