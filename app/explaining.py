"""What commands say to whoever called them. Standard library only."""

from __future__ import annotations

import gc
import io
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Sequence

from app import settings
from app.errors import GraftError
from app.options import Option
from app.recipe import Recipe
from app.recipe_file import AnyRecipe, RecipeFile


def say(line: object) -> None:
    """Prints a line on standard output."""
    # At once, also where nobody watches: a server says where it listens, and goes on.
    print(line, flush=True)  # noqa: T201  # standard output is what a command answers with


def explain(file: RecipeFile[AnyRecipe], usage: str, options: Sequence[Option]) -> int:
    """Lists the settings of a recipe: what they are now, what they mean, what they can be."""
    listed = settings.leaves(file.recipe)
    say(f"usage: {usage}\n")
    if file.about:
        say(f"{file.about}\n")
    example, of = "batch_size 64", "data"
    if isinstance(file.recipe, Recipe):
        example, of = "epochs 3", next(iter(file.recipe.stages))
    say(f"A bare name changes every setting of that name: --{example}")
    say(f"A longer one changes one: --{of}.{example}\n")
    if options:
        say("options:")
        for option in options:
            say(f"  {option.usage}\n{_indented(option.about)}")
        say("")
    say("settings of this recipe, with what they are now:")
    for leaf in listed.values():
        say(f"  --{leaf.path} {settings.show(leaf.value)}")
        say(_indented(leaf.about if leaf.kind is str else f"{leaf.about} Takes {leaf.takes}."))
    return 0


def _indented(text: str) -> str:
    return textwrap.indent(textwrap.fill(text, 90), " " * 6)


def guarded(work: Callable[[], int]) -> int:
    """Says in one line what the user can mend; lets defects of graft show themselves.

    Returns:
        The exit code.
    """
    code = _answered(work)
    if code and "tensorflow" in sys.modules:
        # Keras leaves the batches of a `fit` that was broken off in a cycle of references. Threads
        # that still make some would want Python while it ends: it hung then, or aborted.
        gc.collect()
    return code


def _answered(work: Callable[[], int]) -> int:
    _set_up_streams()
    try:
        try:
            return work()
        finally:
            sys.stdout.flush()  # here, where a reader that has left does no harm
    except GraftError as error:
        print(f"graft: {' '.join(str(error).splitlines())}", file=sys.stderr)  # noqa: T201  # errors are said there
        return error.exit_code
    except KeyboardInterrupt:
        print("graft: stopped", file=sys.stderr)  # noqa: T201  # errors are said there
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _set_up_streams() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("graft")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may be no text at all
            stream.reconfigure(errors="surrogateescape")
