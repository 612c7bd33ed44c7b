"""The command `graft serve`."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path

from app import verbs
from app.errors import GraftError
from app.explaining import say
from app.exports.places import latest_version
from app.serving.limits import Limits

_PACKAGES = (
    "tensorflow_serving",
    "starlette",
    "uvicorn",
    "httptools",
    "uvloop",
    "prometheus_client",
)


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    command.add_argument(
        "exports",
        metavar="EXPORT",
        nargs="+",
        type=Path,
        help="the folder of an export's versions, of which the newest is served, or one version",
    )
    limits = Limits()
    command.add_argument(
        "--host",
        default="127.0.0.1",
        help="what to listen on; %(default)s, this machine alone, if left out. Nobody is asked who"
        " they are: put a proxy before it that does",
    )
    ports = {"--port": (8501, "REST, metrics and the page"), "--grpc-port": (8500, "gRPC")}
    for name, (port, what) in ports.items():
        command.add_argument(
            name,
            metavar="PORT",
            type=_whole(0, 65535),
            default=port,
            help=f"of {what}; %(default)s if left out, 0 for any that is free",
        )
    command.add_argument(
        "--versions",
        metavar="NUMBER",
        type=_whole(1, 100),
        default=1,
        help="how many of the newest versions of a model are served; %(default)s if left out",
    )
    command.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=_seconds,
        default=limits.deadline,
        help="what cannot be answered by then is refused at once; %(default)s if left out",
    )
    command.add_argument(
        "--queue",
        metavar="IMAGES",
        type=_whole(1, 1_000_000),
        default=limits.rows,
        help="that may wait, however long the deadline; %(default)s if left out",
    )


def answer(asked: argparse.Namespace) -> int:
    """Serves until it is stopped."""
    missing = [each for each in _PACKAGES if importlib.util.find_spec(each) is None]
    if missing:
        raise GraftError(
            f"graft serve needs {', '.join(missing)}: pip install 'graft-vision[serving]'"
        )
    for each in asked.exports:
        latest_version(each)  # before TensorFlow loads, is there one?
    limits = Limits(deadline=asked.deadline, rows=asked.queue)
    server = verbs.load("app.serving.server", without_keras=True)
    server.serve(
        server.Request(
            asked.exports, asked.host, asked.port, asked.grpc_port, asked.versions, limits
        ),
        say,
    )
    return 0


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        digits = text.isascii() and text.isdecimal() and len(text) < 10
        if not digits or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return read


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.001 <= found <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, such as 2.5")
    return found
