"""Batches of rows come in the order of the batches of images that they stand for."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

from app.data.augmentation import Augmenter
from app.data.batches import measuring_batches, training_batches
from app.data.index import Index, build_index
from app.data.sources import list_images
from app.features import batches as feature_batches
from app.features.batches import measuring_rows, training_rows
from app.features.cutting import Cut, cut
from app.features.filling import Frozen
from app.features.rows import Rows
from app.models import unfreeze
from app.recipe import Augmentation
from tests.making import make_folder
from tests.small_nets import BACKBONE, small_net

SIZE, SEED, BATCH = 16, 3, 5


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = make_folder(tmp_path_factory.mktemp("data"), {"a": 12, "b": 9})
    return build_index(list_images(str(folder)), 0.2, 0.1, 0)


@pytest.fixture(params=["in memory", "from disk"])
def parts(
    index: Index, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Cut, list[Rows], Rows, Augmenter]:
    if request.param == "from disk":
        monkeypatch.setattr(feature_batches, "MEMORY_BYTES", 0)
    model = small_net()
    unfreeze(model, BACKBONE, "head")
    divided = cut(model)
    assert divided is not None
    augmenter = Augmenter(Augmentation("strong"), SIZE, SEED)
    frozen = Frozen(divided, "small", SIZE, augmenter)
    with ExitStack() as within:
        opened = frozen.collections(2, within)
        for view in (0, 1):
            frozen.fill(opened[view], index.images, view, "")
        train = [frozen.rows(opened[v], index.split("train"), v) for v in (0, 1)]
        return divided, train, frozen.rows(opened[0], index.split("validation"), 0), augmenter


def test_training_rows_are_those_of_the_training_images(
    index: Index, parts: tuple[Cut, list[Rows], Rows, Augmenter]
) -> None:
    divided, views, _, augmenter = parts
    found = training_rows(index, views, divided, BATCH, SEED, 1, 2, first_step=1)
    images = training_batches(
        index, augmenter, SIZE, BATCH, SEED, first_epoch=1, epochs=2, first_step=1, views=2
    )
    count = 0
    for (rows, labels), (pixels, expected) in zip(found, images, strict=True):
        np.testing.assert_array_equal(labels, expected)
        made = divided.below(pixels.numpy().astype("float32"))
        np.testing.assert_allclose(rows, made, rtol=1e-3, atol=1e-3)
        assert rows.dtype == "float32"
        count += 1
    assert count == 2 * -(-len(index.split("train")) // BATCH) - 1


def test_measuring_rows_are_those_of_the_measured_images(
    index: Index, parts: tuple[Cut, list[Rows], Rows, Augmenter]
) -> None:
    divided, _, rows, _ = parts
    images = index.split("validation")
    found = measuring_rows(index, images, rows, divided, BATCH)
    for (row, labels), (pixels, expected) in zip(
        found, measuring_batches(index, images, SIZE, BATCH), strict=True
    ):
        np.testing.assert_array_equal(labels, expected)
        made = divided.below(pixels.numpy().astype("float32"))
        np.testing.assert_allclose(row, made, rtol=1e-3, atol=1e-3)
