"""The command `graft`, and `main` for recipes that are run as scripts.

Nothing here imports TensorFlow before the arguments are known to make sense.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from app import (
    commands,
    export_command,
    pretraining_command,
    serving_command,
    tuning_command,
)
from app.commands import RunRecipe
from app.errors import GraftError, RecipeError
from app.explaining import explain, guarded
from app.options import OPTIONS, usage
from app.pretrain_recipe import Pretraining
from app.recipe import Recipe
from app.recipe_file import RecipeFile, first_line, load_pretraining_file, load_recipe_file
from app.version import __version__

_COMMANDS = {
    "train": "train a recipe in its stages, and measure the result",
    "pretrain": "train a backbone on images without labels, or on generated ones",
    "show": "print a recipe with every setting, changed as asked",
    "diagnose": "check a recipe the way a careful engineer does, before training it",
    "find-lr": "find a learning rate by a range test, with a plot",
    "tune": "search for better settings; the winner is a recipe like any other",
    "ablate": "measure what each part of a recipe brings, by taking it away",
    "evaluate": "measure the model of a run again, on the images that it kept apart",
    "export": "write the model of a run as a SavedModel that answers image bytes",
    "inspect": "print the card of an export, and check its hashes",
    "predict": "name what images show, with a SavedModel alone, as CSV",
    "serve": "answer over HTTP and gRPC what images show, and on a page",
    "backbones": "list the backbones, or rank those on this machine for some images",
    "cache": "list the features that are kept on this machine, or remove them",
}


class _Parser(argparse.ArgumentParser):
    """Answers a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        raise GraftError(f"{message}; `{self.prog} --help` says more")


def main(recipe: Recipe | Pretraining, run: RunRecipe | None = None) -> None:
    """Runs a recipe as a script: `python recipes/x.py [--setting value ...]`.

    The same as `graft train recipes/x.py [--setting value ...]`, which finds a `run`
    of the recipe's own by that name; or as `graft pretrain`.

    Args:
        recipe: May be changed from the command line.
        run: What to do with it; `app.run` if None. It gets the recipe and the
            directory asked for, or None, and returns the finished run.
    """
    about = first_line(sys.modules["__main__"].__doc__)
    place, called, arguments = Path(sys.argv[0]), f"python {sys.argv[0]}", sys.argv[1:]
    if isinstance(recipe, Pretraining):
        unlabelled = RecipeFile(place, recipe, None, about)
        sys.exit(guarded(lambda: _pretrain(unlabelled, arguments, called)))
    file = RecipeFile(place, recipe, run, about)
    sys.exit(guarded(lambda: _on_recipe("train", file, arguments, called)))


def graft() -> None:
    """The command `graft`."""
    sys.exit(guarded(lambda: _dispatch(sys.argv[1:])))


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:11}{about}" for name, about in _COMMANDS.items())
    parser = _Parser(
        "graft",
        usage="graft [-h] [--version] COMMAND ...",
        description="Transfer learning on images, from a folder to a SavedModel that answers.\n\n"
        f"commands:\n{listed}",
        epilog="`graft COMMAND --help` says more of a command,\n"
        "`graft train RECIPE --help` lists the settings of a recipe.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"graft {__version__}")
    commands = parser.add_subparsers(dest="command", prog="graft", help=argparse.SUPPRESS)
    command = {
        name: commands.add_parser(
            name, description=f"{about[0].upper()}{about[1:]}.", allow_abbrev=False
        )
        for name, about in _COMMANDS.items()
    }
    for name in OPTIONS:
        _add_recipe(command[name], name)
    command["evaluate"].add_argument("run", metavar="RUN", type=Path, help="a run's directory")
    export_command.add_options(command)
    serving_command.add_options(command["serve"])
    command["cache"].add_argument(
        "--clear", action="store_true", help="remove all features that no process is using"
    )
    command["cache"].add_argument(
        "--older-than",
        metavar="DAYS",
        type=_days,
        help="with --clear: only those that were not used for so many days",
    )
    _add_ranking(command["backbones"])
    return parser


def _add_ranking(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--for",
        metavar="DATA",
        dest="source",
        help="rank them for these images: a folder with a sub-folder a class, a CSV file, or"
        " what else data.source can be",
    )
    command.add_argument(
        "--images",
        metavar="NUMBER",
        type=int,
        help="how many images to look at; 500 if left out, or ten a class if that is more",
    )
    command.add_argument(
        "--only",
        metavar="NAME,NAME",
        help="which backbones; missing weights are downloaded. NAME=WEIGHTS tries others than"
        " the usual ones: a file, a run, or none",
    )


def _days(text: str) -> int:
    if not text.isdecimal() or len(text) > 6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days, such as 30")
    return int(text)


def _add_recipe(command: argparse.ArgumentParser, name: str) -> None:
    """What follows the recipe is left as it is: only the recipe knows its settings."""
    command.usage = usage(f"{command.prog} RECIPE", name)
    command.add_argument(
        "recipe", metavar="RECIPE", help="a recipe file, or the directory of a run to run again"
    )
    command.add_argument(
        "settings",
        nargs=argparse.REMAINDER,
        metavar="--SETTING VALUE",
        help=f"change settings; `{command.prog} RECIPE --help` lists those of a recipe",
    ).required = False


def _dispatch(arguments: Sequence[str]) -> int:
    parser = _parser()
    _check_command(*arguments[:2])
    asked = parser.parse_args(arguments)
    if asked.command is None:
        parser.print_help()
        return 0
    if asked.command == "pretrain":
        unlabelled = load_pretraining_file(Path(asked.recipe))
        return _pretrain(unlabelled, asked.settings, f"graft pretrain {asked.recipe}")
    if asked.command in OPTIONS:
        file = load_recipe_file(Path(asked.recipe))
        called = f"graft {asked.command} {asked.recipe}"
        return _on_recipe(asked.command, file, asked.settings, called)
    if asked.command == "evaluate":
        return commands.evaluate(asked.run)
    if asked.command in export_command.COMMANDS:
        return export_command.answer(asked)
    if asked.command == "serve":
        return serving_command.answer(asked)
    if asked.command == "cache":
        return commands.cache(asked.clear, asked.older_than)
    if asked.source is not None:
        return commands.rank_backbones(asked.source, asked.images, asked.only)
    if asked.images is not None or asked.only is not None:
        raise GraftError("--images and --only say how to rank backbones: add --for DATA")
    return commands.backbones()


def _check_command(command: str = "-", first: str = "-h") -> None:
    """Answers the likeliest mistakes better than argparse does."""
    if command not in _COMMANDS and not command.startswith("-"):
        from difflib import get_close_matches  # only a mistake pays for it

        close = get_close_matches(command, _COMMANDS, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else "`graft --help` lists them."
        raise GraftError(f"graft has no command '{command}'. {hint}")
    if command in OPTIONS and first.startswith("-") and not _asks_for_help([first]):
        raise GraftError(f"the recipe comes first: graft {command} RECIPE {first} ...")


def _pretrain(file: RecipeFile[Pretraining], arguments: Sequence[str], called: str) -> int:
    """Pretrains: what is none of its options is a setting."""
    if _asks_for_help(arguments):
        return explain(file, usage(called, "pretrain"), OPTIONS["pretrain"])
    given, options = _given("pretrain", arguments)
    return pretraining_command.pretrain(file, given, **options)


def _given(command: str, arguments: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Divides arguments into settings and the options of a command."""
    given = _pairs(arguments)
    names = [option.name for option in OPTIONS[command]]
    return given, {name: given.pop(name) for name in names if name in given}


def _on_recipe(
    command: str, file: RecipeFile[Recipe], arguments: Sequence[str], called: str
) -> int:
    """Runs a command on a recipe: what is none of its options is a setting."""
    if _asks_for_help(arguments):
        return explain(file, usage(called, command), OPTIONS[command])
    given, options = _given(command, arguments)
    work = {
        "train": commands.train,
        "show": commands.show,
        "find-lr": commands.find_lr,
        "diagnose": commands.diagnose,
        "ablate": commands.ablate,
        "tune": tuning_command.tune,
    }[command]
    return work(file, given, **options)


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return "-h" in arguments or "--help" in arguments


def _pairs(arguments: Sequence[str]) -> dict[str, str]:
    """Reads `--name value` and `--name=value`, in the order in which they were last said."""
    given: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("--"):
            raise RecipeError(f"'{argument}' is not understood: settings are --NAME VALUE")
        name, equals, value = argument[2:].partition("=")
        if not equals:
            value = next(rest, "--")
            if value.startswith("--"):
                raise RecipeError(f"--{name} needs a value: --{name} VALUE")
        name = name.replace("-", "_")
        given.pop(name, None)
        given[name] = value
    return given
