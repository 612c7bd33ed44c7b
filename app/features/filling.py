"""What frozen blocks make of images: found in the cache, or computed once and kept there."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import albumentations
import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from app.backbones import build, compact
from app.data import augmentation, frames, headers, orientation, reading
from app.data.augmentation import Augmenter
from app.data.index import Image
from app.data.kept import KeptImages
from app.data.views import view_batches
from app.features.cache import Collection, open_collection
from app.features.cutting import Cut, fingerprint
from app.features.folding import fold
from app.features.rows import Rows, row_ids

# What a CPU handles best, and a GPU, which wants more at once.
BATCH, GPU_BATCH = 8, 64
# What was measured on, for the next model on the same frozen blocks.
REMEMBERED_BYTES = 64 << 20
_log = logging.getLogger("graft")
_kept_forward: dict[str, Any] = {}


@dataclass(frozen=True)
class Frozen:
    """Frozen blocks, and the images that go through them.

    Attributes:
        cut: They are what lies below it.
        backbone: Name of the backbone that they belong to.
        image_size: Side of the images in pixels.
        augmenter: Makes every view but the first, which is the image as it is.
        kept: Where images are found that were read before.
    """

    cut: Cut
    backbone: str
    image_size: int
    augmenter: Augmenter
    kept: KeptImages | None = None

    def collections(self, views: int, within: ExitStack) -> list[Collection]:
        """Opens where the rows of each view are kept.

        Args:
            views: How many.
            within: Closes them again.

        Raises:
            CacheError: If the cache cannot be written.
        """
        key = self._key()
        plain = {"augmentation": "none", **key}
        varied = {"augmentation": self.augmenter.key, "code": _code(augmentation), **key}
        opened = [
            within.enter_context(open_collection(each, self.cut.width))
            for each in ([plain, varied] if views > 1 else [plain])
        ]
        return [opened[min(view, 1)] for view in range(views)]

    def fill(self, collection: Collection, images: Sequence[Image], view: int, what: str) -> None:
        """Computes those rows of one view of images that are missing.

        Args:
            collection: Of that view.
            images: Any.
            view: Its number.
            what: Is shown beside the progress.

        Raises:
            CacheError: If they cannot be kept; `FloatRangeError` if float16 cannot hold them.
        """
        ids = _ids(images, view)
        missing = collection.missing(ids)
        if len(missing):
            self._compute(collection, [images[i] for i in missing], ids[missing], view, what)

    def rows(self, collection: Collection, images: Sequence[Image], view: int) -> Rows:
        """Returns the rows of one view of images, in their order; none may be missing."""
        return collection.rows(_ids(images, view))

    def computed(
        self, images: Sequence[Image], view: int, what: str
    ) -> Iterator[NDArray[np.floating[Any]]]:
        """Yields the rows of one view of images, batch by batch, without keeping them.

        Args:
            images: Any.
            view: Its number.
            what: Is shown beside the progress.
        """
        size = batch_size()
        bar = tqdm(total=len(images), desc=what, unit=" images", disable=None, leave=False)
        with bar:
            for pixels in view_batches(
                images, view, self.augmenter, self.image_size, size, self.kept
            ):
                yield self._forward(pixels)
                bar.update(len(pixels))

    def _compute(
        self,
        collection: Collection,
        images: Sequence[Image],
        ids: NDArray[np.int64],
        view: int,
        what: str,
    ) -> None:
        done = 0
        with collection.adding() as add:
            for rows in self.computed(images, view, what):
                add(ids[done : done + len(rows)], rows)
                done += len(rows)

    @cached_property
    def _forward(self) -> Callable[[tf.Tensor], NDArray[Any]]:
        return kept_forward_of(self.cut)

    def _key(self) -> dict[str, str | int]:
        """Says everything that decides the numbers of a row but the image and its view."""
        versions = {each.__name__: each.__version__ for each in (tf, keras, albumentations, cv2)}
        return {
            "backbone": self.backbone,
            "image_size": self.image_size,
            "cut": self.cut.name,
            "weights": fingerprint(self.cut.below),
            "network": _code(build, compact),
            "reading": _code(reading, headers, frames, orientation),
            "precision": keras.config.dtype_policy().name,
            "threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "engine": f"{keras.config.backend()}{' on a GPU' if _on_gpu() else ''}",
            **versions,
        }


def forward_of(below: keras.Model) -> Callable[[tf.Tensor], NDArray[Any]]:
    """Returns what computes the rows of a batch: pixels in, `[batch, width]` out.

    On a GPU XLA compiles the folded graph, for batches of `batch_size()`; on a CPU it would be
    many times slower.
    """
    if keras.config.backend() == "jax":
        return _in_one_size(lambda pixels: keras.tree.flatten(below.predict_on_batch(pixels)))
    shape = [None, *below.input.shape[1:]]

    def compute(pixels: tf.Tensor) -> Any:
        return keras.tree.flatten(below(tf.cast(pixels, below.input.dtype), training=False))

    traced = tf.function(compute, autograph=False)
    folded = fold(traced.get_concrete_function(tf.TensorSpec(shape, tf.uint8)), _on_gpu())

    def forward(pixels: Any) -> list[NDArray[Any]]:
        return [tensor.numpy() for tensor in folded(tf.convert_to_tensor(pixels))]

    return _in_one_size(forward) if _on_gpu() else lambda pixels: _rows(forward(pixels))


def kept_forward_of(cut: Cut) -> Callable[[tf.Tensor], NDArray[Any]]:
    """Returns `forward_of` what is below a cut: that which was returned last, if it is the same.

    Stages, the measuring after them and the next run of a search mostly ask for the same, and
    making it ready takes a CPU second.
    """
    key = cut.name, cut.below.input.shape, keras.config.dtype_policy().name, fingerprint(cut.below)
    if _kept_forward.get("key") != key:
        _kept_forward.update(key=key, forward=forward_of(cut.below), rows={})
    forward: Callable[[tf.Tensor], NDArray[Any]] = _kept_forward["forward"]
    return forward


def remembered_forward_of(cut: Cut) -> Callable[[tf.Tensor], NDArray[Any]]:
    """Returns `kept_forward_of` a cut that remembers its rows, bit by bit, while they are few.

    A search measures several heads on the same images and the same frozen blocks.
    """
    forward = kept_forward_of(cut)
    rows: dict[bytes, NDArray[Any]] = _kept_forward["rows"]

    def remembering(pixels: tf.Tensor) -> NDArray[Any]:
        digest = hashlib.blake2b(pixels.numpy()).digest()
        if digest in rows:
            return rows[digest]
        found = forward(pixels)
        if sum(each.nbytes for each in rows.values()) + found.nbytes <= REMEMBERED_BYTES:
            rows[digest] = found
        return found

    return remembering


def batch_size() -> int:
    """Returns how many images go through frozen blocks at once."""
    return GPU_BATCH if _on_gpu() else BATCH


def _on_gpu() -> bool:
    if keras.config.backend() == "jax":
        return any(name.startswith("gpu") for name in keras.distribution.list_devices())
    return bool(tf.config.list_logical_devices("GPU"))


def _in_one_size(
    forward: Callable[[NDArray[np.uint8]], Sequence[NDArray[Any]]],
) -> Callable[[tf.Tensor], NDArray[Any]]:
    """Fills up batches that are too small: XLA compiles anew for each size."""

    def filled(pixels: tf.Tensor) -> NDArray[Any]:
        images = np.asarray(pixels)
        lacking = max(batch_size() - len(images), 0)
        whole = np.pad(images, [(0, lacking), (0, 0), (0, 0), (0, 0)])
        return _rows(forward(whole))[: len(images)]

    return filled


def _ids(images: Sequence[Image], view: int) -> NDArray[np.int64]:
    return row_ids([image.key for image in images], view)


def _rows(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    flat = [array.reshape(len(array), -1) for array in arrays]
    return flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)


@cache
def _code(*modules: Any) -> str:
    """Hashes the source of what makes pixels: who changes it need not remember the cache."""
    sources = [Path(module.__file__).read_bytes() for module in modules]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()
