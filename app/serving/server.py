"""A server: models, protocols, and how it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from app.errors import ExportError, GraftError
from app.exports.loaded import BATCH, at_once, set_up_threads
from app.serving.admission import Gate
from app.serving.answering import Answering
from app.serving.batching import Batcher
from app.serving.catalogue import Catalogue
from app.serving.limits import Limits
from app.serving.metrics import Metrics
from app.serving.patience import patient
from app.serving.rest import Rest
from app.serving.rpc import Rpc
from app.serving.watching import Watcher, find_models

# A thread that loads a version must not keep the event loop waiting for the interpreter.
_SWITCH_SECONDS = 0.0005
# Of gRPC, of TensorFlow and of Python.
_OTHER_FILES = 3000
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Request:
    """What is to be served, and where.

    Attributes:
        exports: Folders of versions, or versions.
        host: That it listens on.
        port: Of HTTP; 0 for any that is free.
        grpc_port: Likewise.
        versions: Of each model that are served at a time, the newest ones.
        limits: Of memory and patience.
    """

    exports: Sequence[Path]
    host: str = "127.0.0.1"
    port: int = 8501
    grpc_port: int = 8500
    versions: int = 1
    limits: Limits = field(default_factory=Limits)


def serve(request: Request, say: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM; then answers what it has begun to, and returns.

    Args:
        request: What, and where.
        say: Is told where it listens, once it does.

    Raises:
        GraftError: If an export cannot be served, or a port is taken.
    """
    models = find_models([*request.exports])
    with _listening(request.host, request.port) as listening:
        set_up_threads()
        _raise_open_files(request.limits)
        # What it says is of connections, as often as those who make them like.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        sys.setswitchinterval(_SWITCH_SECONDS)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(request, Catalogue(models), listening, say))


def _raise_open_files(limits: Limits) -> None:
    """Makes room for as many connections as may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, limits.connections + _OTHER_FILES)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise GraftError(f"{host}:{port} cannot be listened on ({reason}): try --port") from error
    with listening:
        yield listening


async def _serve(
    request: Request, catalogue: Catalogue, listening: socket.socket, say: Callable[[str], None]
) -> None:
    limits = request.limits
    gate = Gate(limits.rows, limits.bodies)
    metrics = Metrics(catalogue, gate)
    batcher = Batcher(len(os.sched_getaffinity(0)), BATCH, at_once(), metrics.batch)
    answering = Answering(catalogue, batcher, gate, limits.deadline)
    stopping = _on_signals()
    rest, rpc = Rest(answering, metrics, limits), Rpc(answering, metrics)
    grpc_server = rpc.server(limits)
    grpc_port = _grpc_port(grpc_server, request)
    watcher = Watcher(catalogue, request.versions)
    if not await _first_look(watcher, catalogue, stopping):
        return
    web = _Web(rest, limits)
    running = asyncio.create_task(web.serve([listening]))
    await grpc_server.start()
    watching = asyncio.create_task(watcher.watch())
    for line in _where(catalogue, request.host, listening.getsockname()[1], grpc_port):
        say(line)
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({stop, running, watching}, return_when="FIRST_COMPLETED")
    _log.info("stopping: what has come in is answered first")
    rest.stopping = True
    watching.cancel()
    await asyncio.sleep(limits.leaving)
    web.should_exit = True
    await asyncio.gather(running, grpc_server.stop(limits.draining))
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    await asyncio.to_thread(batcher.close)


async def _first_look(watcher: Watcher, catalogue: Catalogue, stopping: asyncio.Event) -> bool:
    """Loads every model; returns whether there is something to serve, and still a wish for it.

    Raises:
        ExportError: If one has no version that can be served.
    """
    looking = asyncio.create_task(watcher.look())
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({looking, stop}, return_when="FIRST_COMPLETED")
    if stopping.is_set():
        return False
    stop.cancel()
    await looking
    bad = [model for model in catalogue.models.values() if not model.versions]
    if bad:
        problems = [state.problem for state in bad[0].states.values() if state.problem]
        raise ExportError(problems[-1] if problems else f"{bad[0].folder} holds no export any more")
    return True


def _on_signals() -> asyncio.Event:
    """Returns what is set when the process is asked to end; asked again, it ends at once."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop)
    return stopping


def _grpc_port(server: Any, request: Request) -> int:
    host = f"[{request.host}]" if ":" in request.host else request.host
    try:
        port = int(server.add_insecure_port(f"{host}:{request.grpc_port}"))
    except RuntimeError:
        port = 0
    if not port:
        where = f"{host}:{request.grpc_port}"
        raise GraftError(f"{where} cannot be listened on, perhaps it is taken: try --grpc-port")
    return port


def _where(catalogue: Catalogue, host: str, port: int, grpc_port: int) -> Iterator[str]:
    shown = f"[{host}]" if ":" in host else host
    for model in catalogue.models.values():
        versions = ", ".join(map(str, sorted(model.versions, reverse=True)))
        yield f"{model.name}: version {versions}"
    yield f"gRPC on {shown}:{grpc_port}"
    yield f"http://{shown}:{port}"


class _Web(uvicorn.Server):
    """Uvicorn as a part of a program that minds signals itself."""

    def __init__(self, rest: Rest, limits: Limits) -> None:
        super().__init__(
            uvicorn.Config(
                rest.app(),
                http=patient(limits),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=int(limits.draining),
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
