"""Images kept in memory as they were read, so that none is decoded twice."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from app.data.index import Image
from app.data.looking import Seen

KEPT_BYTES = 1 << 30
"""So much memory images may take, those to train on and those of validation together."""

_log = logging.getLogger("graft")


class KeptImages:
    """The images of a run, as they are after reading, while they fit in memory.

    They are found by their contents, each kept when it is first read: whoever reads them, in
    whatever order, and wherever that was broken off. Any number of threads may use it.
    """

    def __init__(
        self,
        images: Sequence[Image],
        image_size: int,
        limit: int | None = None,
        seen: Seen | None = None,
    ) -> None:
        """Chooses which images are kept; those that were seen already are from the start.

        Args:
            images: That are read repeatedly. Those at the end are not kept if not all fit.
            image_size: Side in pixels.
            limit: Bytes; `KEPT_BYTES` if None.
            seen: Images of that size that were looked at before, if any were.
        """
        hashes = {image.key: image.sha256 for image in images}
        fitting = (KEPT_BYTES if limit is None else limit) // (image_size * image_size * 3)
        self._chosen = frozenset(list(hashes)[:fitting])
        pixels = seen.pixels if seen else {}
        self._pixels = {key: pixels[hashes[key]] for key in self._chosen if hashes[key] in pixels}
        self._left_out, self._saying = len(hashes) - len(self._chosen), Lock()

    def has_room_for(self, images: Sequence[Image]) -> bool:
        """Tells whether all of some images are kept, once they are read."""
        return all(image.key in self._chosen for image in images)

    def missing(self, keys: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns which of some images have to be read: positions in `keys`."""
        wanted = [place for place, key in enumerate(keys) if int(key) not in self._pixels]
        return np.array(wanted, np.int64)

    def complete(
        self,
        keys: Sequence[int] | NDArray[np.int64],
        missing: NDArray[np.int64],
        read: NDArray[np.uint8],
    ) -> list[NDArray[np.uint8]]:
        """Keeps what was read, and returns all images.

        Args:
            keys: What each is known by, see `Image.key`.
            missing: What `missing` said.
            read: uint8 `[missing, size, size, 3]`.

        Returns:
            uint8 `[size, size, 3]` for each key, where it lies: nothing is copied.
        """
        found = dict(zip(missing.tolist(), read, strict=True))
        for place, pixels in found.items():
            if int(keys[place]) not in self._chosen:
                self._say_what_is_left_out()
            else:  # a copy of its own: a batch is not to live on for one image of it
                self._pixels.setdefault(int(keys[place]), pixels.copy())
        return [
            found[place] if place in found else self._kept(int(key))
            for place, key in enumerate(keys)
        ]

    def _kept(self, key: int) -> NDArray[np.uint8]:
        pixels = self._pixels[key]
        pixels.flags.writeable = False
        return pixels

    def _say_what_is_left_out(self) -> None:
        """Said once, and only if such images are read at all."""
        with self._saying:
            count, self._left_out = self._left_out, 0
        if count:
            _log.info(
                "%d of %d images do not fit in memory and are read again each epoch",
                count,
                count + len(self._chosen),
            )
