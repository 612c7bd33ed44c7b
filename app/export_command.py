"""The commands about exports: making one, reading its card, asking it."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from app import verbs
from app.errors import ExportError
from app.explaining import say
from app.exports import hashes
from app.exports.card import read_card, whole_card
from app.exports.listing import asked_for, can_be_counted
from app.exports.places import latest_version
from app.exports.request import FORMATS, TOP_K, Request
from app.exports.rows import partial_of
from app.run_directory import open_finished_run

COMMANDS = ("export", "inspect", "predict")
_log = logging.getLogger("graft")


def add_options(command: Mapping[str, argparse.ArgumentParser]) -> None:
    """Adds what each command takes.

    Args:
        command: Parsers by their names.
    """
    command["export"].add_argument("run", metavar="RUN", type=Path, help="a run's directory")
    command["export"].add_argument(
        "--output",
        metavar="FOLDER",
        type=Path,
        default=Path("saved_models"),
        help="exports lie in <FOLDER>/<recipe>/<version>; %(default)s if left out",
    )
    _add_export(command["export"])
    for name in ("inspect", "predict"):
        command[name].add_argument(
            "export",
            metavar="EXPORT",
            type=Path,
            help="the folder of an export, or of its versions",
        )
    command["predict"].add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="images, folders, patterns such as 'photos/**/*.jpg', CSV files with a column path or"
        " file, or - for a list on standard input",
    )
    command["predict"].add_argument(
        "--output",
        metavar="TABLE",
        type=Path,
        help="the .csv or .parquet file to write, or to go on with after a stop; else standard"
        " output, as CSV",
    )


def answer(asked: argparse.Namespace) -> int:
    """Does what was asked for, and returns the exit code."""
    if asked.command == "inspect":
        return inspect(asked.export)
    if asked.command == "predict":
        return predict(asked.export, asked.files, asked.output)
    formats, certified = asked.formats, not asked.uncertified
    request = Request(formats, asked.calibrate, asked.unsure_below, asked.top_k, certified)
    return export(asked.run, asked.output, request)


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--formats",
        metavar="NAMES",
        type=lambda text: tuple(text.split(",")),
        default=("savedmodel",),
        help=f"beside the SavedModel, with commas: {', '.join(FORMATS)}",
    )
    command.add_argument(
        "--calibrate",
        action="store_true",
        help="divide logits by a temperature that fits the validation images best",
    )
    command.add_argument(
        "--unsure-below",
        metavar="P",
        type=float,
        help="answer `unsure` where the answer is less likely than that",
    )
    command.add_argument(
        "--top-k", metavar="K", type=int, default=TOP_K, help="classes listed; %(default)s"
    )
    command.add_argument(
        "--uncertified",
        action="store_true",
        help="do not prove on the validation images that it answers as the run did",
    )


def export(directory: Path, output: Path, request: Request) -> int:
    """Writes the export of a finished run; the last line is where it lies."""
    found = open_finished_run(directory)
    found.metrics  # noqa: B018  # before TensorFlow loads, was it measured?
    above = next(each for each in (output, *output.absolute().parents) if each.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ExportError(f"{output} cannot be written: give a folder to --output")
    say(verbs.export(found, output, request))
    return 0


def inspect(folder: Path) -> int:
    """Prints the card of an export, and whether its files are as they were written.

    Returns:
        1 if they are not, else 0.
    """
    version = latest_version(folder)
    changed = hashes.differences(version)
    for each in changed:  # first: what has changed may be the card
        _log.warning(each)
    for line in whole_card(read_card(version), version):
        say(line)
    say(f"\n{version}: " + ("not as it was written" if changed else "all hashes match"))
    return 1 if changed else 0


def predict(folder: Path, names: Sequence[str], output: Path | None) -> int:
    """Writes what an export says of images as CSV.

    Returns:
        1 if no image could be read, else 0.
    """
    version = latest_version(folder)
    if output is not None:
        _check_file(output)
        partial = partial_of(output, version)
    prediction = verbs.load("app.exports.prediction", without_keras=True)
    verbs.load("app.exports.loaded", without_keras=True).set_up_threads()
    export = prediction.Export(version)
    # Only who watches is told how much is left: finding that out passes over all names.
    counted = sys.stderr.isatty() and can_be_counted(names)
    total = sum(1 for _ in asked_for(names, sys.stdin)) if counted else None
    files = asked_for(names, sys.stdin)
    if output is None:
        said = prediction.write_predictions(export, files, sys.stdout, total)
    else:
        said = prediction.finish_predictions(export, files, output, partial, total)
    if not said.files:
        _log.warning("no images were named: the list is empty")
    if said.unreadable:
        _log.warning(
            "%d of %d files could not be read: see column 'error'", said.unreadable, said.files
        )
    return 1 if said.unreadable == said.files else 0


def _check_file(output: Path) -> None:
    parent = output.absolute().parent
    if not parent.is_dir():
        raise ExportError(f"{output} cannot be written: its folder does not exist, make it first")
    if output.is_dir():
        raise ExportError(f"{output} is a folder: give the name of a CSV file to --output")
    if output.exists() and not output.is_file():
        raise ExportError(f"{output} is no regular file: leave --output out, and redirect")
    if not os.access(parent, os.W_OK):
        raise ExportError(f"{output} cannot be written: no permission to write in its folder")
