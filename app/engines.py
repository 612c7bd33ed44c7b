"""What Keras computes with: TensorFlow, or JAX for training. Standard library only."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from app.errors import EngineError, ExportError

ENGINES = ("tensorflow", "jax")
_log = logging.getLogger("graft")


def settle(needed: str | None = None) -> None:
    """Makes sure that Keras will compute with what was chosen, before it is imported.

    Args:
        needed: The only one that will do; any of `ENGINES` if None. Where another was chosen,
            this one is taken, and that is said.

    Raises:
        EngineError: If another was chosen, it is not installed, or Keras has begun with one
            that will not do.
    """
    begun = loaded()
    found, where = (begun, "Keras") if begun else chosen()
    if found not in ENGINES:
        raise EngineError(f"{where} says {found!r}: graft trains with tensorflow or jax")
    if needed and begun and begun != needed:
        raise EngineError(f"Keras has begun with {begun}: set KERAS_BACKEND={needed} for this")
    if needed and found != needed:
        _log.info("%s says %s; this is done with %s", where, found, needed)
        os.environ["KERAS_BACKEND"] = found = needed
    if found != "tensorflow" and not begun:
        _log.info("%s says %s: that computes the steps", where, found)
    if importlib.util.find_spec(found) is None:
        raise EngineError(f"{where} says {found!r}, which is not here: pip install -e '.[{found}]'")


def loaded() -> str | None:
    """Names what Keras has begun with; None if it has not been imported."""
    keras = sys.modules.get("keras")
    return str(keras.config.backend()) if keras is not None else None


def chosen() -> tuple[str, str]:
    """Names what Keras will compute with, and where that is said, as Keras would find it."""
    if named := os.environ.get("KERAS_BACKEND"):
        return named, "KERAS_BACKEND"
    settings = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
    try:
        said = json.loads(settings.read_text("utf-8")).get("backend", ENGINES[0])
    except (OSError, ValueError):  # Keras then goes by what it is without such a file, too
        return ENGINES[0], "Keras"
    return str(said), str(settings)


def export_beside(run: Path, output: Path, asked: Sequence[str] = ()) -> Path:
    """Exports a run in a process of its own, with TensorFlow: a SavedModel is TensorFlow's.

    It is done without a GPU, whose memory this process may hold.

    Args:
        run: The directory of the run.
        output: Holds the exports.
        asked: Further options, as they are typed.

    Raises:
        ExportError: If the run cannot be exported.
    """
    import subprocess  # rarely needed, and slow to import

    called = (
        "from app.cli import graft; graft()",
        "export",
        str(run),
        "--output",
        str(output),
        *asked,
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", *called],
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.splitlines() or ["it said nothing"])[-1].removeprefix("graft: ")
        raise ExportError(f"{run} could not be exported in a process of its own: {reason}")
    return Path(done.stdout.splitlines()[-1])
