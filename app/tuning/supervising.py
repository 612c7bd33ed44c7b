"""The processes of a search: started, watched, and started again if they die.

Standard library only, so that it stays small however long the search.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.errors import RunError
from app.tuning.request import Tuning, to_plain

INTERRUPTED = 130
RESTART = 75  # the exit code of a process that asks for another in its place
_CODE = "import sys; from app import tuning_command; sys.exit(tuning_command.process())"
# So many deaths in a row, without a step of the search between them, are not bad luck.
MOST_DEATHS = 8
# So long a process may take to stop after it was asked to.
STOP_SECONDS = 30.0
_POLL_SECONDS = 0.1
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Plan:
    """Which processes a search has.

    Attributes:
        tuning: What is searched.
        until: When all should be over, by `time.time()`.
        chief: `HOST:PORT` of this machine at which others are answered; None for none.
        master: `HOST:PORT` of the chief that this is a worker of; None if it is none.
    """

    tuning: Tuning
    until: float | None = None
    chief: str | None = None
    master: str | None = None

    @property
    def roles(self) -> list[str]:
        """Names the processes; the first leads, and when it is over all is."""
        if self.master:
            return [f"worker-{socket.gethostname()}-{os.getpid()}"]
        workers = self.tuning.request.workers
        if workers == 1 and not self.chief:
            return ["alone"]
        return ["chief", *(f"worker-{number}" for number in range(1, workers + 1))]

    @property
    def steps(self) -> int:
        """Grows with every step of the search that is seen from here."""
        journal = self.tuning.journal
        return journal.stat().st_size if journal.is_file() else 0


def supervise(plan: Plan) -> int:
    """Searches in processes of their own, each of which another replaces if it dies.

    Returns:
        The exit code of the leading one.

    Raises:
        RunError: If they die again and again before they come to anything.
    """
    address = plan.chief or plan.master or f"127.0.0.1:{_free_port()}"
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        running.update({role: _start(plan, role, address) for role in plan.roles})
        return _watch(plan, running, address)
    finally:
        _stop(list(running.values()))


def _watch(plan: Plan, running: dict[str, subprocess.Popen[bytes]], address: str) -> int:
    deaths, seen = 0, -1
    while True:
        for role, process in list(running.items()):
            code = process.poll()
            if code is None:
                continue
            if code == RESTART:
                running[role] = _start(plan, role, address)
                continue
            # 1 is a defect of graft, which has shown itself; 2 was said in a line.
            if (role == plan.roles[0] and code == 0) or code in (1, 2, INTERRUPTED):
                return code
            if code == 0:  # nothing is left for it to do
                del running[role]
                continue
            deaths, seen = (deaths + 1, seen) if plan.steps == seen else (1, plan.steps)
            if deaths >= MOST_DEATHS:
                raise RunError(
                    f"the processes of the search died {deaths} times in a row, last by"
                    f" {_reason(code)}: {plan.tuning.log} has what was said before"
                )
            _log.warning("process %s died by %s: it is started again", role, _reason(code))
            running[role] = _start(plan, role, address)
        time.sleep(_POLL_SECONDS)


def _start(plan: Plan, role: str, address: str) -> subprocess.Popen[bytes]:
    asked = {
        "directory": str(plan.tuning.directory),
        "request": to_plain(plan.tuning.request),
        "until": plan.until,
        "role": role,
        "address": address,
        "elsewhere": plan.master is not None,
        "parent": os.getpid(),
    }
    # -P: what lies in the folder of the user is not imported in place of graft.
    command = [sys.executable, "-P", "-c", _CODE, json.dumps(asked)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1"})


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Lets them stop cleanly: Ctrl-C has reached them, too, or is sent to them now."""
    for process in processes:
        if process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
                continue
            process.send_signal(signal.SIGINT)
    ends = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(timeout=max(ends - time.monotonic(), 0.1))
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
