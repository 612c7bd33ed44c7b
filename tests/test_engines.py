"""What Keras computes with: chosen, checked before anything loads, and exports beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import engines
from app.errors import EngineError, ExportError

GRAFT = [sys.executable, "-c", "from app.cli import graft; graft()"]


@pytest.fixture
def unsettled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As if Keras had not been imported; the folder where it looks for its settings."""
    monkeypatch.setattr(engines, "loaded", lambda: None)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


def test_tensorflow_is_what_computes_unless_something_else_is_said(unsettled: Path) -> None:
    assert engines.chosen() == ("tensorflow", "Keras")
    (unsettled / "keras.json").write_text("no JSON")
    assert engines.chosen() == ("tensorflow", "Keras")
    (unsettled / "keras.json").write_text('{"backend": "jax"}')
    assert engines.chosen() == ("jax", str(unsettled / "keras.json"))


def test_the_environment_counts_for_more_than_the_settings_of_keras(
    unsettled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (unsettled / "keras.json").write_text('{"backend": "torch"}')
    with pytest.raises(EngineError, match=r"keras\.json says 'torch': graft trains with"):
        engines.settle()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    engines.settle()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


def test_what_needs_tensorflow_takes_it_and_says_so(
    unsettled: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with caplog.at_level("INFO", "graft"):
        engines.settle("tensorflow")
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert caplog.messages == ["KERAS_BACKEND says jax; this is done with tensorflow"]


def test_what_is_not_installed_is_said_with_what_installs_it(
    unsettled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"'jax', which is not here: pip install -e '\.\[jax\]'"):
        engines.settle()


def test_keras_that_has_begun_with_another_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "loaded", lambda: "jax")
    with pytest.raises(EngineError, match="Keras has begun with jax: set KERAS_BACKEND=tensorflow"):
        engines.settle("tensorflow")


@pytest.mark.parametrize("wrong", ["torch", "tensorflwo"])
def test_a_wrong_backend_is_answered_in_one_line_before_tensorflow_loads(
    wrong: str, tmp_path: Path
) -> None:
    recipe = Path(__file__).parent.parent / "recipes" / "digits.py"
    done = subprocess.run(
        [*GRAFT, "train", str(recipe)],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": wrong, "PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2
    assert said == [f"graft: KERAS_BACKEND says '{wrong}': graft trains with tensorflow or jax"]
    assert loaded
    assert not [line for line in loaded if line.endswith((" tensorflow", " keras"))]


def test_an_export_that_fails_beside_says_why_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        engines.export_beside(tmp_path / "no_run", tmp_path / "exports")
    assert "could not be exported in a process of its own: " in str(caught.value)
    assert "no_run" in str(caught.value).split(": ", 1)[1]
    assert "Traceback" not in str(caught.value)
