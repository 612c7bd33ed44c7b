"""Images and a trained run that several tests share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:
    # A worker a core, and a thread a worker: with more they wait for one another.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image

from app import Augmentation, Data, Head, Recipe, Run, Stage

ROOT = Path(__file__).parent.parent
MATERIAL = ROOT.parent / "shared" / "material"
# Ordered by nature, not by alphabet.
CLASSES = ("2", "10", "fern leaf")
COLOURS = ((220, 60, 40), (40, 90, 220), (60, 190, 80))


def make_photos(folder: Path, classes: tuple[str, ...] = CLASSES, count: int = 20) -> Path:
    """Writes noisy JPEG files whose colour and stripes tell the class."""
    random = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            height, width = random.integers(40, 70, 2)
            image = np.full((height, width, 3), COLOURS[number % len(COLOURS)], float)
            image[:: number + 2] *= 0.6
            image += random.normal(0, 30, image.shape)
            pixels = image.clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(folder / name / f"{index}.jpg", quality=92)
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keeps features away from the user's cache, in the processes that a test starts, too."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("GRAFT_CACHE", str(folder))
        patch.delenv("GRAFT_CACHE_LIMIT", raising=False)
        yield folder


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Lets Ctrl-C count in the processes of tests that run in the background.

    A process inherits that a signal is ignored. What `preexec_fn` would do instead hangs or
    aborts where the process that starts another has threads, as TensorFlow's and gRPC's.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 20 images; read only."""
    return make_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="session")
def tiny(photos: Path) -> Recipe:
    """Two quick stages of the compact network at 32 pixels."""
    return Recipe(
        name="tiny",
        data=Data(source=str(photos), image_size=32, batch_size=8),
        augmentation=Augmentation("light"),
        backbone="compact",
        weights="none",
        head=Head(dropout=0.1),
        stages={
            "warm_up": Stage(epochs=1, learning_rate=1e-2),
            "fine_tune": Stage(epochs=2, unfreeze="top:2", schedule="cosine"),
        },
    )


@pytest.fixture(scope="session")
def finished(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of `tiny`; read only."""
    from app import run

    return run(tiny, tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="session")
def exported(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 of an export of `finished`; read only."""
    from app import export

    return export(finished, tmp_path_factory.mktemp("saved_models"))


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """The same, to be spoiled: `tiny/1` in the folder of the test."""
    return shutil.copytree(exported, tmp_path / "tiny" / "1")


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python, or a module's command, in a folder of its own."""

    def call(*arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return call


@pytest.fixture(autouse=True)
def whole_floats() -> Iterator[None]:
    """Takes back the precision that a run in this process set, so that the order does not tell."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")
