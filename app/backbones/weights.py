"""Where the weights of a backbone lie. Imports no Keras: `graft backbones` asks here."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from app.backbones.backbone import Backbone
from app.errors import WeightsError

EMBEDDED = Path(__file__).parent / "embedded"
# The weights that graft ships, by version, with the SHA-256 of the file. What was shipped once is
# never changed; the last is what `embedded` stands for.
VERSIONS = {
    "embedded-v1": "b9fc8b2032467734cbf1267aa814d31d99db5484937eeaec676bad03847ccd7f",
}
HDF5_ENDINGS = (".h5", ".hdf5")


@dataclass(frozen=True)
class Provenance:
    """Where the weights of a backbone came from.

    Attributes:
        source: What was asked for: `imagenet`, `embedded`, `none`, or a path.
        file: The file that was read; None for random weights.
        sha256: That file's hash, in hexadecimal digits; None for random weights.
    """

    source: str
    file: str | None = None
    sha256: str | None = None


def weights_folder() -> Path:
    """Finds the folder in which Keras keeps what it downloads.

    As Keras does: under `KERAS_HOME` if that is set, else under `.keras` in the home
    folder, or in `/tmp` where the home folder cannot be written to.
    """
    if "KERAS_HOME" in os.environ:
        return Path(os.environ["KERAS_HOME"], "models")
    home = Path.home()
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras" / "models"


def cached_file(backbone: Backbone, image_size: int | None = None) -> Path | None:
    """Finds the ImageNet weights on this machine that suit a size best, if there are any."""
    files = [weights_folder() / name for name in backbone.weights_names(image_size)]
    return next((file for file in files if file.is_file()), None)


def is_cached(backbone: Backbone) -> bool:
    """Says whether the ImageNet weights are on this machine already."""
    return cached_file(backbone) is not None


def newest_version() -> str:
    """Tells which of the weights that graft ships `embedded` stands for."""
    return list(VERSIONS)[-1]


def is_embedded(weights: str) -> bool:
    """Tells whether weights are shipped with graft: `embedded`, or a version such as another."""
    return weights == "embedded" or weights in VERSIONS


def embedded_file(backbone: Backbone, weights: str = "embedded") -> Path:
    """Finds the weights that are shipped with graft.

    Args:
        backbone: That they are for.
        weights: `embedded` for the newest, or a version.

    Raises:
        WeightsError: If there are none for this backbone, or if the file is not what was shipped.
    """
    if backbone.constructor is not None:
        raise WeightsError(
            f"embedded weights exist for compact only, not for {backbone.name}: "
            "use `--weights imagenet` or `--weights none`, or `--backbone compact`"
        )
    version = newest_version() if weights == "embedded" else weights
    file = EMBEDDED / f"{version}.npz"
    if not file.is_file():
        raise WeightsError(f"{file}, which graft shipped, is missing: install graft again")
    if sha256_of(file) != VERSIONS[version]:
        raise WeightsError(
            f"{file} is not what graft shipped (its SHA-256 is another): install graft again"
        )
    return file


def given_file(weights: str) -> Path:
    """Finds the file behind a path: itself, or the `model.keras` of a run directory.

    Raises:
        WeightsError: If there is none, if it cannot be read, or if its content is not what its
            ending says.
    """
    try:
        return _given_file(weights)
    except (OSError, RuntimeError) as error:  # no permission, a name too long, ~nobody
        raise WeightsError(
            f"the weights {weights} cannot be read: {error}; give another path, or mend that"
        ) from error


def _given_file(weights: str) -> Path:
    path = Path(weights).expanduser()
    file = path / "model.keras" if path.is_dir() else path
    if (path / "recipe.json").is_file() and not file.is_file():
        raise WeightsError(
            f"{path} has no model.keras: its training did not finish, go on with it by --resume"
        )
    if not file.is_file():
        raise WeightsError(
            f"there are no weights at {file}: weights are imagenet, embedded, none, or the path "
            "of a .h5, .weights.h5 or .keras file or of a run directory"
        )
    starts = {".keras": b"PK", **dict.fromkeys(HDF5_ENDINGS, b"\x89HDF\r\n\x1a\n")}
    if file.suffix not in starts:
        raise WeightsError(f"{file} is no weights file: give a .h5, .weights.h5 or .keras file")
    with file.open("rb") as opened:
        if not opened.read(8).startswith(starts[file.suffix]):
            kind = "Keras model" if file.suffix == ".keras" else "HDF5 file"
            raise WeightsError(f"{file} is not a {kind}, as its ending says: give another file")
    return file


def sha256_of(file: Path) -> str:
    """Hashes a file, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
