"""Real training processes killed, stopped and robbed of files, and the weights they end with."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest

from app import Augmentation, Data, Head, Recipe, Stage
from app.settings import to_json

GRAFT = "from app.cli import graft; graft()"


@pytest.fixture(scope="module")
def recipe(photos: Path) -> Recipe:
    """Everything that has a state of its own: what a resumed run could get wrong."""
    return Recipe(
        name="killed",
        data=Data(source=str(photos), image_size=32, batch_size=8),
        checkpoint_steps=4,  # of 6 an epoch
        augmentation=Augmentation("medium", mixup=0.4),
        backbone="compact",
        weights="none",
        head=Head(units=(16,), batch_norm=True, dropout=0.4),
        stages={
            "warm_up": Stage(
                epochs=3, learning_rate=1e-2, weight_average="ema", accumulate_steps=2
            ),
            "fine_tune": Stage(
                epochs=5,
                unfreeze="top:2",
                learning_rate=3e-3,
                schedule="plateau",
                plateau_patience=1,
                warmup_epochs=1.0,
                train_batch_norm=True,
                weight_average="swa",
                swa_start="40%",
            ),
        },
    )


def start(folder: Path, *arguments: str, cores: set[int] | None = None) -> subprocess.Popen[str]:
    pinned = f"import os; os.sched_setaffinity(0, {cores}); " if cores else ""
    return subprocess.Popen(
        [sys.executable, "-c", f"{pinned}{GRAFT}", "train", "recipe.json", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path, *arguments: str, cores: set[int] | None = None) -> str:
    process = start(folder, *arguments, cores=cores)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-3000:]
    return out + err


def weights(run: Path) -> str:
    """The hash of every weight of the finished model."""
    model = keras.models.load_model(run / "model.keras", compile=False)
    found = hashlib.sha256()
    for weight in model.get_weights():
        found.update(weight.tobytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def never_killed(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("never_killed")
    (folder / "recipe.json").write_text(to_json(recipe))
    finish(folder, "--run-dir", "run")
    return folder, weights(folder / "run")


@pytest.fixture
def fresh(recipe: Recipe, tmp_path: Path) -> Path:
    (tmp_path / "recipe.json").write_text(to_json(recipe))
    return tmp_path


def wait_for(process: subprocess.Popen[str], pattern: str, folder: Path, count: int = 1) -> None:
    ends = time.monotonic() + 300
    while len(list(folder.glob(pattern))) < count and process.poll() is None:
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_killed_run_goes_on_to_the_weights_of_one_that_was_not(
    never_killed: tuple[Path, str], fresh: Path
) -> None:
    """On one core, the second time with the same command, and the first with `--resume`."""
    process = start(fresh, "--run-dir", "run", cores={0})
    wait_for(process, "run/checkpoints/[0-9]*.npz", fresh, 2)
    process.kill()
    process.communicate()
    assert not (fresh / "run/model.keras").exists()
    said = finish(fresh, "--resume", "run", cores={0})
    assert "going on from the checkpoint after epoch" in said
    assert weights(fresh / "run") == never_killed[1]
    assert "is finished: nothing is left to do" in finish(fresh, "--run-dir", "run")


def test_ctrl_c_says_how_to_go_on_and_another_recipe_is_refused(fresh: Path) -> None:
    process = start(fresh, "--run-dir", "run", "--epochs", "1000", "--patience", "1000")
    wait_for(process, "run/checkpoints/[0-9]*.npz", fresh)
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "stopped: go on with the same command and --resume run" in said
    assert "Traceback" not in said
    other = start(fresh, "--resume", "run")
    _, said = other.communicate(timeout=60)
    assert other.returncode == 2, said
    assert "is a run of another recipe (stages.warm_up.epochs: 1000 -> 3" in said


def test_two_processes_cannot_train_one_run(fresh: Path) -> None:
    process = start(fresh, "--run-dir", "run", "--epochs", "1000", "--patience", "1000")
    try:
        wait_for(process, "run/checkpoints/[0-9]*.npz", fresh)
        other = start(fresh, "--run-dir", "run", "--epochs", "1000", "--patience", "1000")
        _, said = other.communicate(timeout=120)
        assert other.returncode == 2, said
        assert "is being trained by another process" in said
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_25_kills_at_random_instants_change_no_bit(
    never_killed: tuple[Path, str], fresh: Path
) -> None:
    chance = random.Random(25)
    began = time.monotonic()
    finish(fresh, "--run-dir", "measured")
    whole = time.monotonic() - began
    kills, runs, had_checkpoint = 0, 0, False
    while kills < 25:
        run = f"run{runs}"
        process = start(fresh, "--run-dir", run)
        try:
            process.wait(chance.uniform(0.0, whole))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        _, said = process.communicate()
        assert process.returncode in (0, -9), said[-3000:]
        if had_checkpoint and "Stage" in said:
            assert "going on from the checkpoint" in said
        had_checkpoint = any((fresh / run).glob("checkpoints/*.npz"))
        if process.returncode == 0:
            assert weights(fresh / run) == never_killed[1]
            runs, had_checkpoint = runs + 1, False
    finish(fresh, "--run-dir", f"run{runs}")
    assert weights(fresh / f"run{runs}") == never_killed[1]


def damaged(checkpoints: Path, chance: random.Random) -> Iterator[Path]:
    """Tears the newest checkpoint, or flips a bit of it, for ever."""
    while True:
        path = max(checkpoints.glob("*.npz"))
        contents = bytearray(path.read_bytes())
        if chance.random() < 0.5:
            path.write_bytes(contents[: chance.randrange(len(contents))])
        else:
            contents[chance.randrange(len(contents))] ^= 1 << chance.randrange(8)
            path.write_bytes(contents)
        yield path


@pytest.mark.slow
def test_torn_and_flipped_checkpoints_change_no_bit(
    never_killed: tuple[Path, str], fresh: Path
) -> None:
    process = start(fresh, "--run-dir", "run")
    wait_for(process, "run/checkpoints/0000004*.npz", fresh)
    process.kill()
    process.communicate()
    whole = fresh / "whole"
    shutil.copytree(fresh / "run", whole)
    for number, path in zip(
        range(5), damaged(fresh / "run/checkpoints", random.Random(5)), strict=False
    ):
        said = finish(fresh, "--resume", "run")
        assert f"{path.name} is damaged" in said, number
        assert "going on from the checkpoint" in said
        assert weights(fresh / "run") == never_killed[1]
        shutil.rmtree(fresh / "run")
        shutil.copytree(whole, fresh / "run")


@pytest.mark.slow
def test_a_full_disk_stops_with_the_last_checkpoint_intact(
    never_killed: tuple[Path, str], fresh: Path
) -> None:
    """A limit on the size of files, which the checkpoints of the second stage outgrow."""
    limited = [
        sys.executable,
        "-c",
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (13_500_000, -1)); {GRAFT}",
    ]
    done = subprocess.run(
        [*limited, "train", "recipe.json", "--run-dir", "run"],
        cwd=fresh,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "checkpoints cannot be written (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list((fresh / "run/checkpoints").glob("*.npz"))) == 2
    assert not list((fresh / "run").rglob(".partial-*"))
    assert "going on from the checkpoint" in finish(fresh, "--resume", "run")
    assert weights(fresh / "run") == never_killed[1]
