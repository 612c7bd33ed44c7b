"""Makes what graft ships of a finished pretraining; for who maintains it.

python -m app.pretraining.packing runs/pretrain_embedded/<id> embedded-v1
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import keras

import app.backbones.compact  # noqa: F401  # its layer is known to Keras only once imported
from app.backbones.loading import pack
from app.backbones.weights import EMBEDDED
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
    if file.exists():
        raise WeightsError(f"{file} was shipped already: give another version")
    if not model.is_file():
        raise WeightsError(f"{run} has no model.keras: its pretraining did not finish")
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as temporary:
        pack(keras.models.load_model(model, compile=False), temporary)
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("version")
    asked = parser.parse_args()
    digest = pack_run(asked.run, asked.version)
    sys.stdout.write(f'    "{asked.version}": "{digest}",\n')
