"""The hashes of an export, as `sha256sum -c` takes them. Standard library only."""

from __future__ import annotations

import hashlib
from pathlib import Path

from app.errors import ExportError

SUMS = "SHA256SUMS"


def write_hashes(version: Path) -> None:
    """Writes the SHA-256 of every other file of an export into it."""
    lines = (f"{digest}  {name}\n" for name, digest in _found(version).items())
    (version / SUMS).write_text("".join(lines), encoding="utf-8")


def differences(version: Path) -> list[str]:
    """Says what of an export is not as it was written; nothing if all is.

    Raises:
        ExportError: If it has no hashes, or they cannot be read.
    """
    try:
        lines = (version / SUMS).read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ExportError(
            f"{version} has no hashes in {SUMS} that could be read: export the run again"
        ) from error
    wanted = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = _found(version)
    return [
        *(f"{name} is missing" for name in wanted if name not in found),
        *(f"{name} is not of the export" for name in found if name not in wanted),
        *(
            f"{name} has changed"
            for name in wanted
            if found.get(name, wanted[name]) != wanted[name]
        ),
    ]


def _found(version: Path) -> dict[str, str]:
    found = {}
    for path in sorted(each for each in version.rglob("*") if each != version / SUMS):
        name = path.relative_to(version).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            found[name] = "neither a file nor a folder"
        elif path.is_file():
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
