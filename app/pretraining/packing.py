"""Makes what graft ships of a finished pretraining; for who maintains it.

python -m app.pretraining.packing runs/pretrain_embedded/<id> embedded-v1
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from app.backbones.build import build_backbone
from app.backbones.loading import pack
from app.backbones.table import find_backbone
from app.backbones.weights import EMBEDDED, VERSIONS
from app.errors import GraftError, WeightsError
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
        WeightsError: If the version is there already, the run is not finished or of another
            network, or a weight is no number of half a float.
    """
    file = folder / f"{version}.npz"
    if file.exists() or version in VERSIONS:
        raise WeightsError(f"{version} was shipped already ({file}): give another version")
    trained, _ = build_backbone(find_backbone("compact"), 32, str(run))
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as temporary:
        pack(trained, temporary)
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("version")
    asked = parser.parse_args()
    try:
        digest = pack_run(asked.run, asked.version)
    except GraftError as error:
        parser.error(str(error))
    sys.stdout.write(f'    "{asked.version}": "{digest}",\n')
