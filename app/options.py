"""What the commands on a recipe understand beside its settings. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        name: As a Python name.
        value: What stands for its value in the usage.
        about: What it does.
    """

    name: str
    value: str
    about: str

    @property
    def usage(self) -> str:
        """How it is typed, such as `--run-dir DIR`."""
        return f"--{self.name.replace('_', '-')} {self.value}"


OPTIONS = {
    "train": (
        Option(
            "run_dir",
            "DIR",
            "where the run is written, or gone on with if it was begun there;"
            " runs/<recipe>/<date and time> if left out",
        ),
        Option("resume", "RUN", "the directory of a run to go on with from its last checkpoint"),
        Option(
            "minutes",
            "NUMBER",
            "how long the run may take: this machine is measured, and image size, views, epochs"
            " and depth are chosen to fit; settings that are given stay",
        ),
    ),
    "pretrain": (
        Option(
            "run_dir",
            "DIR",
            "where the backbone is written, or gone on with if it was begun there;"
            " runs/<recipe>/<date and time> if left out",
        ),
        Option("resume", "DIR", "the directory to go on with from its last checkpoint"),
    ),
    "tune": (
        Option("trials", "NUMBER", "at most, the recipe as written included; 30 if left out"),
        Option("minutes", "NUMBER", "how long it may take; alone it leaves the trials unlimited"),
        Option(
            "algorithm",
            "NAME",
            "what proposes: random, bayesian, grid, or hyperband; random if left out",
        ),
        Option(
            "executions",
            "NUMBER",
            "how often each trial is trained, from another seed each time; 1 if left out",
        ),
        Option(
            "folds",
            "NUMBER",
            "measures each trial by cross-validation in so many folds, for small sets; 0, which is"
            " the validation split alone, if left out",
        ),
        Option(
            "output",
            "DIR",
            "where the search is written, or gone on with if it was begun there;"
            " runs/<recipe>/tuning-<date and time> if left out, or the last one there that asked"
            " for the same and is not finished",
        ),
        Option("workers", "NUMBER", "processes that train at a time here; 1 if left out"),
        Option("chief", "HOST:PORT", "answers workers of other machines at this own address"),
        Option("worker", "HOST:PORT", "trains what the chief at this address hands out"),
        Option("resume", "TUNING", "a search to go on with, perhaps with more trials or minutes"),
    ),
    "show": (),
    "find-lr": (
        Option(
            "stage",
            "NAME",
            "the stage to test, once those before it are trained; the first if left out",
        ),
    ),
    "diagnose": (),
    "ablate": (
        Option(
            "over",
            "PARTS",
            "what to take away, one after the other, with commas between: transfer,"
            " augmentation, stages.<name>, or settings; whatever the recipe uses if left out",
        ),
        Option("seeds", "NUMBER", "how many seeds each is run with; 3 if left out"),
        Option(
            "output",
            "DIR",
            "where the runs are written, or gone on with if they were begun there;"
            " runs/<recipe>/ablation-<date and time> if left out",
        ),
    ),
}


def usage(called: str, command: str) -> str:
    """Returns the usage of a command on a recipe, such as `graft train RECIPE ...`."""
    options = "".join(f"[{option.usage}] " for option in OPTIONS[command])
    return f"{called} {options}[--SETTING VALUE ...]"
