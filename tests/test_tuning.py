"""`graft tune` from the command line, with processes that are killed."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.errors import RecipeError
from app.recipe_file import load_recipe_file
from app.run_directory import open_finished_run
from app.settings import differences
from app.tuning import request
from app.tuning.journal import Journal
from app.tuning.trials import COMPLETED, FAILED, Trial, trials_of

RECIPE = '''"""Stripes and colours."""

from app import Augmentation, Data, Head, Recipe, Stage

recipe = Recipe(
    name="small",
    data=Data(source="{source}", image_size=32, batch_size=8),
    augmentation=Augmentation("none"),
    backbone="compact",
    weights="none",
    head=Head(dropout=0.1),
    stages={{"head": Stage(epochs=2, learning_rate=1e-3)}},
)


def search(hp):
    hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    hp.Choice("head.units", ["()", "32"])
'''
TRIALS = 4


@pytest.fixture(scope="module")
def folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `small.py`."""
    place = tmp_path_factory.mktemp("tuning")
    (place / "small.py").write_text(RECIPE.format(source=photos))
    return place


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from app.cli import graft; graft()", "tune", *arguments]


def tune(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def searched(folder: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A search that nothing disturbed."""
    done = tune(folder, "small.py", "--trials", str(TRIALS))
    assert done.returncode == 0, done.stderr
    return done, folder / done.stdout.splitlines()[-1]


def trials_in(place: Path) -> list[Trial]:
    return trials_of(Journal(place / "journal.jsonl").events)


def test_a_search_ends_with_its_folder_and_a_row_a_trial(
    searched: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, place = searched
    assert re.fullmatch(r"tuning-\d{8}-\d{6}", place.name)
    rows = re.findall(r"^ +(\d+)  +\d\.\d{3} ", done.stderr, re.M)
    assert rows == [str(number) for number in range(TRIALS)]
    assert "learning_rate: 0.0001 to 0.1, log scale" in done.stderr
    with (place / "trials.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == [COMPLETED] * TRIALS
    assert (place / "log.txt").read_text().count(" INFO ") >= TRIALS
    assert "stage head" not in done.stderr  # that is in the log of each trial
    assert "stage head" in (place / "trials" / "0001" / "log.txt").read_text()


def test_the_winner_is_a_recipe_that_differs_in_the_values_found(
    searched: tuple[subprocess.CompletedProcess[str], Path], folder: Path
) -> None:
    _, place = searched
    results = json.loads((place / "results.json").read_text())
    winner = trials_in(place)[results["winner"]]
    found = load_recipe_file(place / "best.py").recipe
    changed = differences(load_recipe_file(folder / "small.py").recipe, found)
    assert {line.partition(":")[0] for line in changed} <= set(winner.changes)
    run = open_finished_run(place / "trials" / f"{winner.number:04d}")
    assert run.recipe == found
    assert run.metrics["test"]["accuracy"]["value"] == results["test_accuracy"][0]
    assert f"{results['test_accuracy'][0]:.3f}" in (place / "best.py").read_text()


def test_only_the_winner_and_the_recipe_as_written_keep_their_weights(
    searched: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    _, place = searched
    winner = json.loads((place / "results.json").read_text())["winner"]
    kept = {folder.parent.name for folder in place.rglob("checkpoints")}
    assert kept == {"0000", f"{winner:04d}"}


def test_the_page_asks_for_nothing_and_shows_every_trial(
    searched: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    _, place = searched
    page = (place / "report.html").read_text()
    assert not re.search(r"(src|href)=|https?://|@import|url\(", page)
    assert page.count("<svg") >= 2
    assert len(re.findall(r"<tr", page)) == TRIALS + 1
    assert list((place / "tensorboard").rglob("events.out*"))


def test_a_finished_search_is_extended_and_another_is_refused(
    searched: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path, folder: Path
) -> None:
    _, place = searched
    copy = tmp_path / "copy"
    shutil.copytree(place, copy)
    more = tune(folder, "small.py", "--resume", str(copy), "--trials", str(TRIALS + 1))
    assert more.returncode == 0, more.stderr
    assert f"going on after {TRIALS} trials" in more.stderr
    before, after = trials_in(place), trials_in(copy)
    assert after[:TRIALS] == before
    assert len(after) == TRIALS + 1
    for wrong in (("--batch_size", "4"), ("--algorithm", "grid")):
        refused = tune(folder, "small.py", "--resume", str(copy), *wrong)
        assert refused.returncode == 2
        assert "is a tuning of another recipe or of other images" in refused.stderr
        assert len(refused.stderr.splitlines()) <= 2
        assert wrong[1] in refused.stderr


def killing(
    folder: Path, name: str, moments: list[float], victims: list[str], *arguments: str
) -> list[Trial]:
    """Runs a search to its end, killing parent or children on the way."""
    arguments = ("small.py", "--trials", str(TRIALS), "--output", name, *arguments)
    for moment, victim in zip(moments, victims, strict=True):
        process = subprocess.Popen(
            command(*arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moment)
        if victim == "parent":
            process.kill()
            process.wait()
        else:
            for child in children_of(process.pid):
                os.kill(child, signal.SIGKILL)
            if victim == "both":
                process.kill()
            else:
                process.wait(timeout=600)
        process.wait()
        time.sleep(0.5)  # what the parent has left behind ends by itself
    done = tune(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return trials_in(folder / name)


def children_of(parent: int) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split()]


def same(one: list[Trial], other: list[Trial]) -> bool:
    """Whether trials are the same, but for the time that they took."""

    def told(trials: list[Trial]) -> list[tuple[object, ...]]:
        return [
            (each.number, dict(each.changes), each.outcome.accuracy, each.outcome.loss)
            for each in trials
        ]

    return told(one) == told(other)


def test_a_search_whose_processes_are_killed_ends_with_the_same_trials_and_winner(
    searched: tuple[subprocess.CompletedProcess[str], Path], folder: Path
) -> None:
    _, place = searched
    found = killing(folder, "killed", [9.0, 6.0], ["parent", "child"])
    assert same(found, trials_in(place))
    results = [
        json.loads((each / "results.json").read_text()) for each in (place, folder / "killed")
    ]
    assert results[0]["winner"] == results[1]["winner"]
    assert results[0]["test_accuracy"] == results[1]["test_accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["random", "grid"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_twenty_kills_at_random_instants_change_nothing(
    folder: Path, algorithm: str, workers: str
) -> None:
    asked = ("--algorithm", algorithm, "--workers", workers)
    name = f"{algorithm}-{workers}"
    whole = killing(folder, f"whole-{name}", [], [], *asked)
    draw = random.Random(name)
    moments = [draw.uniform(0.5, 14.0) for _ in range(20)]
    victims = [draw.choice(["parent", "both"]) for _ in moments]
    found = killing(folder, f"cut-{name}", moments, victims, *asked)
    assert same(found, whole)


@pytest.mark.slow
def test_two_workers_end_with_the_trials_of_one(
    searched: tuple[subprocess.CompletedProcess[str], Path], folder: Path
) -> None:
    _, place = searched
    done = tune(folder, "small.py", "--trials", str(TRIALS), "--workers", "2", "--output", "two")
    assert done.returncode == 0, done.stderr
    assert same(trials_in(folder / "two"), trials_in(place))


@pytest.mark.slow
def test_a_chief_and_a_worker_of_another_machine_end_with_the_trials_of_one(
    searched: tuple[subprocess.CompletedProcess[str], Path],
    folder: Path,
    photos: Path,
    tmp_path: Path,
) -> None:
    _, place = searched
    shutil.copytree(photos, tmp_path / "copied")
    address = f"127.0.0.1:{free_port()}"
    worker = subprocess.Popen(
        [*command(str(folder / "small.py")), "--data.source", "copied", "--worker", address],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    asked = ("--trials", str(TRIALS), "--chief", address, "--workers", "0", "--output", "chief")
    done = tune(folder, "small.py", *asked)
    assert done.returncode == 0, done.stderr
    assert same(trials_in(folder / "chief"), trials_in(place))
    assert open_finished_run(folder / "chief" / "trials" / "0000").metrics["test"]
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == 0, said


def test_if_no_trial_completes_the_answer_is_no_and_says_why(folder: Path, photos: Path) -> None:
    # Each step multiplies the weights by a million.
    wild = 'optimizer="sgd", learning_rate=1000.0'
    broken = RECIPE.format(source=photos).replace("learning_rate=1e-3", wild)
    broken = broken.replace("dropout=0.1", "l2=1000.0").replace("1e-4, 1e-1", "100.0, 999.0")
    (folder / "broken.py").write_text(broken)
    done = tune(folder, "broken.py", "--trials", "2", "--output", "broken")
    assert done.returncode == 1, done.stderr
    assert "none of 2 trials was completed" in done.stdout
    assert [trial.status for trial in trials_in(folder / "broken")] == [FAILED, FAILED]
    assert "failed" in done.stderr
    assert "Traceback" not in done.stderr


WRONG = {
    ("--trials", "0"): "--trials is '0': it must be a whole number from 1 to 100,000",
    ("--trials", "many"): "--trials is 'many'",
    ("--algorithm", "genetic"): "must be one of random, bayesian, grid, hyperband",
    ("--minutes", "-1"): "--minutes is '-1'",
    ("--executions", "2", "--folds", "3"): "keep one of them",
    ("--folds", "1"): "give 2 or more",
    ("--algorithm", "hyperband", "--folds", "3"): "leave out --folds",
    ("--workers", "0"): "only a --chief can leave",
    ("--chief", "here"): "it must be HOST:PORT",
    ("--chief", "a:1", "--worker", "b:2"): "keep one of them",
    ("--resume", "nowhere"): "nowhere is no tuning",
    ("--output", "small.py"): "cannot be written",
    ("--epoks", "3"): "Did you mean 'epochs'?",
}


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_what_makes_no_sense_is_one_line_before_anything_loads(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    began = time.process_time()
    done = tune(folder, "small.py", *arguments)
    assert time.process_time() - began < 5
    assert done.returncode == 2
    assert WRONG[arguments] in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_algorithm_whose_package_is_absent_is_refused_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe_file(folder / "small.py").recipe
    monkeypatch.setitem(request.NEEDED, "bayesian", ("sklearn", "no_such_package"))
    with pytest.raises(RecipeError, match="bayesian needs no_such_package: install"):
        request.read_request(recipe, folder / "small.py", "bayesian")
    assert request.read_request(recipe, folder / "small.py", "random").trials == 30


@pytest.mark.slow
def test_on_a_full_disk_a_search_stops_in_one_line_and_goes_on_afterwards(
    searched: tuple[subprocess.CompletedProcess[str], Path], folder: Path
) -> None:
    _, place = searched
    asked = ("small.py", "--trials", str(TRIALS), "--output", "full")

    python, option, graft, *rest = command(*asked)
    # For a checkpoint, as on a full disk.
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))"
    done = subprocess.run(
        [python, option, f"{limited}; {graft}", *rest],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("graft: ")
    assert "cannot be written (File too large)" in last
    assert not any(trial.status == FAILED for trial in trials_in(folder / "full"))
    assert tune(folder, *asked).returncode == 0
    assert same(trials_in(folder / "full"), trials_in(place))
