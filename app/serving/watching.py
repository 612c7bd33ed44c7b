"""Takes up new versions of exports, and lets old ones go, while requests are answered."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import ExportError
from app.exports.card import read_card
from app.exports.hashes import differences
from app.exports.loaded import BATCH, Loaded
from app.exports.signatures import signatures_of
from app.serving.catalogue import (
    AVAILABLE,
    END,
    LOADING,
    UNLOADING,
    Catalogue,
    Model,
    Served,
    State,
)

POLL_SECONDS = 1.0
_DRAINED_SECONDS = 0.02
_NICENESS = 19
_log = logging.getLogger("graft")
# A version as it lies there: what is copied, replaced or spoiled has other files, sizes or times.
_Identity = frozenset[tuple[str, int, int, int]]


class Watcher:
    """Keeps a catalogue as its folders are."""

    def __init__(self, catalogue: Catalogue, most: int = 1) -> None:
        """Watches the folders of the models.

        Args:
            catalogue: Is changed on the event loop alone.
            most: How many versions of a model are served at a time, the newest ones.
        """
        self._catalogue, self._most = catalogue, most
        self._loading = ThreadPoolExecutor(1, "graft-loading", initializer=_let_others_go_first)
        self._seen: dict[tuple[str, int], _Identity] = {}
        self._warned: set[str] = set()

    async def watch(self) -> None:
        """Looks at the folders again and again, until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(POLL_SECONDS)

    async def look(self) -> None:
        """Looks once: newest versions are loaded before older ones are let go."""
        for model in self._catalogue.models.values():
            await self._look_at(model)

    async def _look_at(self, model: Model) -> None:
        try:
            there = await asyncio.to_thread(_versions, model)
        except OSError as error:  # a disk that is away for a moment is no reason to change
            if model.name not in self._warned:
                self._warned.add(model.name)
                _log.warning(
                    "%s cannot be listed (%s): what is loaded goes on", model.folder, error
                )
            return
        kept: list[int] = []
        for number in sorted(there, reverse=True):
            if len(kept) < self._most and await self._is_served(model, number, there[number]):
                kept.append(number)
        if kept:
            self._warned.discard(model.name)
            await self._let_go(model, [each for each in model.versions if each not in kept])
        elif model.versions and model.name not in self._warned:
            self._warned.add(model.name)
            _log.warning(
                "%s holds no version any more that can be served: what was loaded goes on",
                model.name,
            )

    async def _is_served(self, model: Model, number: int, identity: _Identity) -> bool:
        """Loads a version, unless it is loaded, or was found bad as it lies there."""
        if self._seen.get((model.name, number)) == identity:
            return number in model.versions
        self._seen[model.name, number] = identity
        model.states[number] = State(LOADING)
        try:
            loop = asyncio.get_running_loop()
            served = await loop.run_in_executor(self._loading, load, model, number)
        except ExportError as error:
            _log.warning("%s", error)
            # Whoever asks is not told where the server keeps its files.
            self._failed(model, number, str(error).replace(f"{model.folder}/", ""))
            return False
        except Exception as error:  # whatever is wrong with it, the others go on
            _log.exception("%s version %d cannot be loaded", model.name, number)
            self._failed(model, number, f"it cannot be loaded: {type(error).__name__}")
            return False
        replaced = [model.versions[number]] if number in model.versions else []
        model.versions[number] = served
        model.states[number] = State(AVAILABLE)
        _log.info("%s version %d is served", model.name, number)
        await _retire(replaced)
        return True

    def _failed(self, model: Model, number: int, problem: str) -> None:
        """Notes why what lies there is not served; what was loaded of that number may still be."""
        name = AVAILABLE if number in model.versions else END
        model.states[number] = State(name, problem)

    async def _let_go(self, model: Model, numbers: list[int]) -> None:
        for number in numbers:
            self._seen.pop((model.name, number), None)
            model.states[number] = State(UNLOADING)
            await _retire([model.versions.pop(number)])
            model.states[number] = State(END)
            _log.info("%s version %d is let go", model.name, number)


async def _retire(versions: list[Served]) -> None:
    """Waits until nobody is answered any more by versions that nobody finds, and frees them."""
    while any(each.requests for each in versions):
        await asyncio.sleep(_DRAINED_SECONDS)
    if versions:
        versions.clear()  # the last that held them
        await asyncio.to_thread(_give_back_memory)


def _versions(model: Model) -> dict[int, _Identity]:
    """Lists the versions of a folder, as they lie there now."""
    found = {}
    for each in model.folder.iterdir():
        number = int(each.name) if each.name.isdecimal() and len(each.name) < 19 else None
        if each.name == str(number) and model.only in (None, number) and each.is_dir():
            found[int(each.name)] = _identity(each)
    return found


def _identity(version: Path) -> _Identity:
    found = []
    with suppress(OSError):  # it may be removed meanwhile
        for path in version.rglob("*"):
            about = path.lstat()
            found.append((str(path), about.st_ino, about.st_size, about.st_mtime_ns))
    return frozenset(found)


def load(model: Model, number: int) -> Served:
    """Checks the hashes of a version, loads it, and asks it once.

    Raises:
        ExportError: If it is not as it was written, or cannot be loaded.
    """
    folder = model.folder / str(number)
    changed = differences(folder)
    if changed:
        raise ExportError(
            f"{folder} is not served: {'; '.join(changed[:3])}; `graft inspect` lists all that is"
            " not as it was written"
        )
    network = Loaded(folder)
    for rows in (BATCH, 1):  # the first time of each size takes longer
        answer = network.answer(np.zeros([rows, network.size, network.size, 3], np.uint8))
    blank = {name: _blank(name, array[0]) for name, array in answer.items()}
    card, signatures = read_card(folder), signatures_of(folder)
    return Served(model.name, number, network, card, signatures, blank)


def _blank(name: str, row: Any) -> Any:
    """Returns what the signature `serving_default` says of a file that cannot be read."""
    if name == "classes":
        return row
    if name == "unsure":
        return np.ones_like(row)
    if isinstance(row, bytes):
        return b""
    return np.full_like(row, b"") if row.dtype == object else np.zeros_like(row)


def _let_others_go_first() -> None:
    """Gives this thread the time that those who answer leave: Linux knows that of threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _give_back_memory() -> None:
    """Frees what a network took: glibc would keep it for itself, and more with each version."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library has no such call
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def find_models(exports: list[Path]) -> list[Model]:
    """Names the models that lie in folders.

    Args:
        exports: Each a folder of versions, or one version of such a folder.

    Raises:
        ExportError: If one holds no export, or two have the same name.
    """
    models: dict[str, Model] = {}
    for path in (Path(os.path.abspath(each)) for each in exports):  # noqa: PTH100  # resolves ..
        one = (path / "saved_model.pb").is_file()
        if one and not path.name.isdecimal():
            raise ExportError(f"{path} is no version: its folder must be named by a number")
        folder = path.parent if one else path
        model = Model(folder.name, folder, int(path.name) if one else None)
        if not folder.is_dir() or not _versions(model):
            what = "holds no export" if folder.is_dir() else "does not exist"
            raise ExportError(f"{path} {what}; `graft export RUN` prints where it wrote one")
        if ":" in model.name:
            raise ExportError(f"{folder}: no address can name a model with ':' in it; rename it")
        if model.name in models:
            raise ExportError(f"two exports are named {model.name}: rename the folder of one")
        models[model.name] = model
    return list(models.values())
