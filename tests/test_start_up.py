"""What starting loads: nothing but Python for help and mistakes, no more of Keras than is used."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Says which modules come from neither Python nor graft, how many are loaded in all, and the CPU
# seconds of the process.
LOADED = """
import sys, time
from app.cli import graft

try:
    graft()
except SystemExit as left:
    code = left.code
outside = {name.split(".")[0] for name in sys.modules} - sys.stdlib_module_names
print([code, sorted(outside), len(sys.modules), time.process_time()], file=sys.stderr)
"""
KERAS = """
import sys
from app import verbs

verbs.load("app.heads")
assert "keras" in sys.modules
assert not {"sklearn", "matplotlib"} & set(sys.modules), "Keras loaded them"
import matplotlib, sklearn
"""
# What the recipe is, and what an environment may load when its interpreter starts.
OWN = ("app", "graft_recipe_", "__", "_virtualenv", "_distutils_hack", "sitecustomize")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("--help", 0),
        ("train --help", 0),
        ("train recipes/folder.py --help", 0),
        ("predict --help", 0),
        ("backbones", 0),
        ("tarin", 2),
        ("train none.py", 2),
        ("train recipes/folder.py --epoks 3", 2),
        ("train recipes/folder.py --data.source none", 2),
        ("predict none x.jpg", 2),
    ],
)
def test_help_and_mistakes_load_nothing_but_python(command: str, code: int) -> None:
    left, outside, count, seconds = loaded(command)
    assert left == code
    assert {name for name in outside if not name.startswith(OWN)} == set()
    assert count < 250, "it was 185 at most; each module is time that help waits"
    if seconds >= 0.5:  # neighbours take CPU seconds, too, but not each time
        seconds = min(loaded(command)[-1] for _ in range(3))
    assert seconds < 0.5, "0.07 on a machine at rest; NumPy alone takes it over 0.15"


def loaded(command: str) -> tuple[int, list[str], int, float]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *command.split()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    left, outside, count, seconds = ast.literal_eval(done.stderr.splitlines()[-1])
    return left, outside, count, seconds


def test_keras_is_loaded_without_what_graft_has_no_use_for(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", KERAS],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
