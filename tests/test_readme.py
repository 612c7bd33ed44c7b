"""The commands that the README shows do what it says, in a copy, with small networks, offline."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

Call = Callable[[str], subprocess.CompletedProcess[str]]
TRAIN = "graft train recipes/folder.py --data.source ~/photos"
# What is added to a command, so that it takes seconds.
SMALL = " --backbone compact --weights none --image_size 32 --epochs 1"
SMALLER = {
    "train": SMALL,
    "diagnose": SMALL,
    "find-lr": SMALL,
    "tune": f"{SMALL} --trials 2",
    "ablate": f"{SMALL} --seeds 1",
    "pretrain": " --image_size 32 --batch_size 4 --steps 2",
    "backbones": " --only compact=none",
}
# Once it says where it listens, it is asked to stop.
STOPPED = """{} --port 0 --grpc-port 0 > told & server=$!
until grep -q http:// told; do kill -0 $server || exit 1; sleep 0.2; done
kill $server; wait $server"""


def commands() -> list[str]:
    blocks = re.findall(r"^    ((?:python|graft) .*)$", (ROOT / "README.md").read_text(), re.M)
    return [line for block in blocks for line in block.split(" && ")]


def of_one_run(command: str) -> bool:
    return command == TRAIN or "runs/folder" in command or "saved_models/folder" in command


@pytest.fixture
def call(photos: Path, tmp_path: Path) -> Call:
    """Calls a command where recipes and images lie as the README has them."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    home = tmp_path / "home"
    shutil.copytree(photos, home / "photos")
    (home / "new").mkdir()
    for number, path in enumerate(sorted((photos / "10").iterdir())[:3]):
        shutil.copy(path, home / "new" / f"{number}.jpg")
    shutil.copytree(photos / "10", home / "unlabelled" / "deep")
    binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def calling(command: str) -> subprocess.CompletedProcess[str]:
        command += SMALLER.get(command.split()[1], "")
        if command.startswith("graft serve"):
            command = STOPPED.format(command)
        return subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={**os.environ, "HOME": str(home), "PATH": binaries},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return calling


def test_it_shows_the_commands_that_a_new_user_needs() -> None:
    for wanted in (
        "python -m pip install -e .",
        "python recipes/digits.py",
        "python -m pip install -e '.[test]'",
        "python -m pytest",
        TRAIN,
        "graft evaluate runs/folder/<id>",
        "graft export runs/folder/<id>",
        "graft predict saved_models/folder/1 ~/new/*.jpg --output predictions.csv",
        "graft serve saved_models/folder",
    ):
        assert wanted in commands()


def test_ci_calls_the_commands_that_install_and_the_quick_start() -> None:
    script = (ROOT / ".ci" / "run").read_text().replace(" --quiet", "")
    for command in commands():
        if command.startswith("python"):
            assert command.replace("python recipes", 'python "$OLDPWD/recipes').strip() in script


def test_a_run_is_trained_measured_exported_and_served(call: Call, tmp_path: Path) -> None:
    run_id = ""
    for command in filter(of_one_run, commands()):
        done = call(command.replace("<id>", run_id))
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
        if command == TRAIN:
            run_id = Path(done.stdout.splitlines()[-1]).name
    with (tmp_path / "predictions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3


@pytest.mark.parametrize(
    "command",
    [each for each in commands() if each.startswith("graft") and not of_one_run(each)],
)
def test_the_other_commands_work(call: Call, command: str) -> None:
    done = call(command)
    # A diagnosis answers no, and rightly, of a network with random weights.
    expected = (0, 1) if command.startswith("graft diagnose") else (0,)
    assert done.returncode in expected, done.stderr[-2000:]
    if command.startswith("graft diagnose"):
        checks = [line for line in done.stdout.splitlines() if line[:4] in ("pass", "FAIL")]
        assert len(checks) >= 9
