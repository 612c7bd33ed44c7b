"""Makes what graft ships of a finished pretraining; for who maintains it.

python -m app.pretraining.packing runs/pretrain_embedded/<id> embedded-v1
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import keras

from app.backbones.compact import build_compact
from app.backbones.loading import pack
from app.backbones.weights import EMBEDDED, VERSIONS
from app.errors import WeightsError
from app.files import whole_file


def pack_run(run: Path, version: str, folder: Path = EMBEDDED) -> str:
    """Packs the backbone of a finished pretraining.

    Args:
        run: Its directory.
        version: What it will be known by; a version that is there is never overwritten.
        folder: Where it is written, as `<version>.npz`.

    Returns:
        The SHA-256 of the file, which goes into `VERSIONS` of `app.backbones.weights`.

    Raises:
        WeightsError: If the run is not finished, or the version is there already.
    """
    file, model = folder / f"{version}.npz", run / "model.keras"
    if file.exists() or version in VERSIONS:
        raise WeightsError(f"{version} was shipped already ({file}): give another version")
    if not model.is_file():
        raise WeightsError(f"{run} has no model.keras: its pretraining did not finish")
    trained = keras.models.load_model(model, compile=False)
    shapes, wanted = ([tuple(w.shape) for w in of.weights] for of in (trained, build_compact(32)))
    if shapes != wanted:
        raise WeightsError(f"{model} is no backbone of the compact network: name another run")
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as temporary:
        pack(trained, temporary)
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("version")
    asked = parser.parse_args()
    digest = pack_run(asked.run, asked.version)
    sys.stdout.write(f'    "{asked.version}": "{digest}",\n')
