"""Batches are addressed by index: any epoch can be made again, image for image."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from app.data.augmentation import Augmenter
from app.data.batches import measuring_batches, steps_per_epoch, training_batches
from app.data.index import Image, Index
from app.data.kept import KeptImages
from app.data.looking import hash_of
from app.data.mixing import Mixing
from app.data.reading import read_image
from app.data.views import view_batches
from app.recipe import Augmentation
from tests.making import make_image

SIZE = 8
CLASSES = ("2", "10", "fern leaf")
Batch = tuple[NDArray[np.uint8], NDArray[np.int64] | NDArray[np.float32]]
STRONG = Augmentation("strong")
MIXING = Mixing(Augmentation(mixup=1.0, cutmix=1.0), 3)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Seventeen images to train on and five to measure with, in three classes."""
    root = tmp_path_factory.mktemp("photos")
    images = []
    for number in range(22):
        name = CLASSES[number % 3]
        path = make_image(root / name / f"é {number}.png", seed=number)
        part = "train" if number < 17 else "validation"
        images.append(Image(path, (name,), part, hash_of(path), 9, 13))
    return Index(CLASSES, tuple(images), ())


def epochs_of(
    index: Index,
    first_epoch: int = 0,
    epochs: int = 1,
    seed: int = 3,
    batch_size: int = 5,
    preset: str = "none",
    devices: int = 1,
    mixing: Mixing | None = None,
    views: int = 0,
) -> list[list[Batch]]:
    """The batches of each epoch."""
    augmenter = Augmenter(Augmentation(preset), SIZE, seed)
    dataset = training_batches(
        index,
        augmenter,
        SIZE,
        batch_size,
        seed,
        first_epoch,
        epochs,
        devices,
        mixing,
        views=views,
    )
    steps = steps_per_epoch(len(index.split("train")), batch_size, devices)
    given = [(pixels.numpy(), labels.numpy()) for pixels, labels in dataset]
    assert len(given) == steps * epochs
    return [given[start : start + steps] for start in range(0, len(given), steps)]


@pytest.fixture(scope="module")
def plain(index: Index) -> list[list[Batch]]:
    """Three epochs of images as they are."""
    return epochs_of(index, epochs=3)


@pytest.fixture(scope="module")
def strong(index: Index) -> list[list[Batch]]:
    """The same three epochs, varied."""
    return epochs_of(index, epochs=3, preset="strong")


@pytest.fixture(scope="module")
def mixed(index: Index) -> list[list[Batch]]:
    """The first two of them, varied and mixed."""
    return epochs_of(index, epochs=2, preset="strong", mixing=MIXING)


def read(images: Iterable[Image]) -> list[bytes]:
    contents = [tf.io.read_file(str(image.path)) for image in images]
    return [read_image(each, SIZE).numpy().tobytes() for each in contents]


def pixels_of(images: Sequence[Image]) -> NDArray[np.uint8]:
    raw = b"".join(read(images))
    return np.frombuffer(raw, np.uint8).reshape(-1, SIZE, SIZE, 3)


def order(epoch: list[Batch]) -> list[bytes]:
    return [picture.tobytes() for pixels, _ in epoch for picture in pixels]


def equal(one: list[list[Batch]], other: list[list[Batch]]) -> bool:
    flat, also = [b for e in one for b in e], [b for e in other for b in e]
    return len(flat) == len(also) and all(
        np.array_equal(x, y)
        for a, b in zip(flat, also, strict=True)
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_every_training_image_comes_once_an_epoch_in_batches_of_nearly_equal_size(
    index: Index, batch_size: int
) -> None:
    expected = Counter(read(index.split("train")))
    assert len(expected) == 17
    for epoch in epochs_of(index, epochs=2, batch_size=batch_size):
        assert Counter(order(epoch)) == expected
        counts = [len(labels) for _, labels in epoch]
        assert len(counts) == ceil(17 / batch_size)
        assert max(counts) <= batch_size
        assert max(counts) - min(counts) <= 1


def test_pixels_are_those_of_the_reading_path_and_labels_belong_to_them(
    index: Index, plain: list[list[Batch]]
) -> None:
    labels_of = {
        pixels: index.class_names.index(image.class_name)
        for image, pixels in zip(index.images, read(index.images), strict=True)
    }
    for pixels, labels in plain[0]:
        assert pixels.dtype == np.uint8
        assert pixels.shape == (len(labels), SIZE, SIZE, 3)
        assert labels.dtype == np.int64
        assert [labels_of[picture.tobytes()] for picture in pixels] == labels.tolist()


def test_order_differs_between_epochs_and_seeds(index: Index, plain: list[list[Batch]]) -> None:
    first, second, _ = map(order, plain)
    other = order(epochs_of(index, seed=4)[0])
    source = read(index.split("train"))
    assert len({tuple(each) for each in (first, second, other, source)}) == 4


@pytest.mark.parametrize("first_epoch", [0, 2])
def test_repeated_or_later_start_sees_what_the_first_saw(
    index: Index, strong: list[list[Batch]], first_epoch: int
) -> None:
    again = epochs_of(index, first_epoch=first_epoch, epochs=1, preset="strong")
    assert equal(again, strong[first_epoch : first_epoch + 1])


def test_dataset_gives_the_same_batches_each_time_it_is_gone_through(index: Index) -> None:
    augmenter = Augmenter(STRONG, SIZE, 3)
    dataset = training_batches(index, augmenter, SIZE, 5, 3, first_epoch=0, epochs=2)
    for (pixels, labels), (again, labels_again) in zip(dataset, dataset, strict=True):
        assert np.array_equal(pixels, again)
        assert np.array_equal(labels, labels_again)


def test_image_is_varied_by_view_and_contents(
    index: Index, plain: list[list[Batch]], strong: list[list[Batch]]
) -> None:
    """Without a number of views, each epoch has one of its own, none of them as it is."""
    augmenter = Augmenter(STRONG, SIZE, 3)
    keys = {p: i.key for p, i in zip(read(index.images), index.images, strict=True)}
    for epoch in range(3):
        for (pixels, _), (found, _) in zip(plain[epoch], strong[epoch], strict=True):
            of_batch = [keys[picture.tobytes()] for picture in pixels]
            assert np.array_equal(found, augmenter(pixels, epoch + 1, of_batch))


def test_epochs_walk_through_the_views_and_the_first_is_as_it_is(
    index: Index, plain: list[list[Batch]], strong: list[list[Batch]]
) -> None:
    walked = epochs_of(index, epochs=4, preset="strong", views=2)
    as_they_are, varied = set(order(plain[0])), set(order(strong[0]))
    assert [set(order(epoch)) for epoch in walked] == [as_they_are, varied] * 2
    assert len({tuple(order(epoch)) for epoch in walked}) == 4  # each in an order of its own


@pytest.mark.parametrize("batch_size", [4, 100])
def test_view_of_images_is_what_an_epoch_shows_of_them(
    index: Index, strong: list[list[Batch]], batch_size: int
) -> None:
    images = index.split("train")[3:]
    batches = list(view_batches(images, 2, Augmenter(STRONG, SIZE, 3), SIZE, batch_size))
    assert [len(each) for each in batches] == ([4, 4, 4, 2] if batch_size == 4 else [14])
    found = [picture.tobytes() for each in batches for picture in each.numpy()]
    assert set(found) < set(order(strong[1]))
    expected = Augmenter(STRONG, SIZE, 3)(pixels_of(images), 2, [image.key for image in images])
    assert found == [picture.tobytes() for picture in expected]


def test_view_without_augmenter_is_the_images_as_they_are(index: Index) -> None:
    images = [index.images[place] for place in (20, 3, 3)]
    (batch,) = view_batches(images, 5, None, SIZE, 8)
    assert np.array_equal(batch, pixels_of(images))
    assert list(view_batches([], 0, None, SIZE, 8)) == []


def test_classes_are_mixed_by_the_order(index: Index) -> None:
    by_class = sorted(index.images, key=lambda image: image.class_name)
    sorted_index = Index(index.class_names, tuple(by_class), ())
    labels = np.concatenate([labels for _, labels in epochs_of(sorted_index)[0]])
    assert (np.diff(labels) != 0).sum() > 4


def test_static_shape_is_known_but_for_the_batch(index: Index) -> None:
    augmenter = Augmenter(Augmentation("light"), SIZE, 0)
    training = training_batches(index, augmenter, SIZE, 5, 0, first_epoch=0, epochs=1)
    for dataset in (training, measuring_batches(index, index.images, SIZE, 5)):
        pixels, labels = dataset.element_spec
        assert pixels.shape.as_list() == [None, SIZE, SIZE, 3]
        assert pixels.dtype == tf.uint8
        assert labels.shape.as_list() == [None]
        assert labels.dtype == tf.int64


@pytest.mark.parametrize("first_step", [3, 6])
def test_start_within_an_epoch_sees_what_the_first_saw(
    index: Index, mixed: list[list[Batch]], first_step: int
) -> None:
    """Four steps an epoch: the second start leaves out the first epoch whole."""
    augmenter = Augmenter(STRONG, SIZE, 3)
    rest = training_batches(
        index, augmenter, SIZE, 5, 3, 0, 2, mixing=MIXING, first_step=first_step
    )
    found = [(pixels.numpy(), labels.numpy()) for pixels, labels in rest]
    assert equal([found], [[batch for epoch in mixed for batch in epoch][first_step:]])


def test_batches_are_mixed_by_epoch_and_step_after_they_are_varied(
    strong: list[list[Batch]], mixed: list[list[Batch]]
) -> None:
    for epoch in range(2):
        for step, (pixels, labels) in enumerate(strong[epoch]):
            wanted = MIXING(pixels, labels, len(CLASSES), epoch, step)
            assert equal([[mixed[epoch][step]]], [[wanted]])
            assert mixed[epoch][step][1].dtype == np.float32


def test_many_labels_are_mixed_too_and_shared_by_devices(index: Index) -> None:
    images = [replace(i, class_names=CLASSES[: n % 4]) for n, i in enumerate(index.images)]
    labelled = Index(CLASSES, tuple(images), (), many_labels=True)
    (plain,), (mixed,) = (epochs_of(labelled, mixing=each, devices=2) for each in (None, MIXING))
    rows = {tuple(row) for _, labels in plain for row in labels}
    assert rows == {(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)}
    for step, (pixels, labels) in enumerate(plain):
        assert labels.dtype == np.float32
        assert len(labels) % 2 == 0
        assert equal([[mixed[step]]], [[MIXING(pixels, labels, 3, 0, step)]])


def test_shape_of_mixed_batches_is_known_but_for_their_number(index: Index) -> None:
    augmenter = Augmenter(Augmentation("light"), SIZE, 0)
    pixels, targets = training_batches(
        index, augmenter, SIZE, 5, 0, 0, 1, mixing=MIXING
    ).element_spec
    assert pixels.shape.as_list() == [None, SIZE, SIZE, 3]
    assert targets.shape.as_list() == [None, len(CLASSES)]
    assert (pixels.dtype, targets.dtype) == (tf.uint8, tf.float32)


def test_one_image_and_one_batch_will_do(index: Index) -> None:
    alone = Index(CLASSES, index.images[:1], ())
    (epoch,) = epochs_of(alone, batch_size=32)
    assert order(epoch) == read(alone.images)


@pytest.mark.parametrize(("devices", "batch_size"), [(3, 4), (4, 12)])
def test_devices_share_every_batch_equally(index: Index, devices: int, batch_size: int) -> None:
    first, second = epochs_of(index, epochs=2, batch_size=batch_size, devices=devices)
    counts = [len(labels) for _, labels in first]
    assert all(count % devices == 0 for count in counts)
    assert max(counts) <= batch_size
    assert sum(counts) == 17 // devices * devices
    # Nobody comes twice, and those who sit out take turns.
    assert max(Counter(order(first)).values()) == 1
    assert set(order(first)) != set(order(second)) or 17 % devices == 0


@pytest.mark.parametrize(
    ("count", "batch_size", "devices", "steps"),
    [(17, 5, 1, 4), (15, 5, 1, 3), (1, 32, 1, 1), (17, 8, 2, 2), (13, 4, 3, 4), (16, 2, 4, 4)],
)
def test_steps_of_an_epoch(count: int, batch_size: int, devices: int, steps: int) -> None:
    assert steps_per_epoch(count, batch_size, devices) == steps


@pytest.mark.parametrize("fitting", [None, 0, 2, 100])
@pytest.mark.parametrize("batch_size", [2, 32])
def test_measuring_gives_images_as_they_are_in_the_order_given(
    index: Index, batch_size: int, fitting: int | None
) -> None:
    images = [index.images[place] for place in (20, 3, 3, 17, 0)]
    kept = None if fitting is None else KeptImages(images, SIZE, fitting * SIZE * SIZE * 3)
    for _ in range(2):
        dataset = measuring_batches(index, images, SIZE, batch_size, kept=kept)
        given = [(pixels.numpy(), labels.numpy()) for pixels, labels in dataset]
        assert order(given) == read(images)
        assert [int(i) for _, labels in given for i in labels] == [2, 0, 0, 2, 0]
        assert max(len(labels) for _, labels in given) <= batch_size


@pytest.mark.parametrize("fitting", [0, 6, 100])
def test_kept_images_change_no_pixel_whatever_part_of_them_was_read(
    index: Index, mixed: list[list[Batch]], fitting: int
) -> None:
    """The first epoch is gone through in part, then from its middle, then from its beginning."""
    kept = KeptImages(index.images, SIZE, fitting * SIZE * SIZE * 3)
    augmenter = Augmenter(STRONG, SIZE, 3)
    expected = [batch for epoch in mixed for batch in epoch]
    for first, taken in ((0, 1), (2, 1), (0, 8)):
        batches = training_batches(
            index, augmenter, SIZE, 5, 3, 0, 2, mixing=MIXING, first_step=first, kept=kept
        )
        found = [(pixels.numpy(), labels.numpy()) for pixels, labels in batches.take(taken)]
        assert equal([found], [expected[first : first + taken]])


def test_kept_images_are_read_once_whoever_asks_for_them(index: Index, tmp_path: Path) -> None:
    images = []
    for image in index.images:  # copies, which can then be taken away
        path = tmp_path / image.class_name / image.path.name
        path.parent.mkdir(exist_ok=True)
        images.append(replace(image, path=Path(shutil.copy(image.path, path))))
    moved = Index(CLASSES, tuple(images), ())
    kept = KeptImages(moved.images, SIZE)
    augmenter = Augmenter(STRONG, SIZE, 3)
    training = [training_batches(moved, augmenter, SIZE, 5, 3, e, 1, kept=kept) for e in (0, 1)]
    measuring = measuring_batches(moved, moved.split("validation"), SIZE, 5, kept=kept)
    assert len(list(training[0])) == 4
    list(measuring)
    shutil.rmtree(tmp_path)
    again = [(pixels.numpy(), labels.numpy()) for pixels, labels in training[1]]
    assert equal([again], epochs_of(index, first_epoch=1, preset="strong"))
    assert order([(p.numpy(), y.numpy()) for p, y in measuring]) == read(index.images[17:])
    (view,) = view_batches(moved.images, 0, None, SIZE, 100, kept)
    assert np.array_equal(view, pixels_of(index.images))
    with pytest.raises(tf.errors.NotFoundError):
        list(measuring_batches(moved, moved.images, SIZE, 5))


def test_nothing_to_measure_gives_no_batches(index: Index) -> None:
    assert list(measuring_batches(index, [], SIZE, 4)) == []


def test_file_that_went_away_is_named(tmp_path: Path) -> None:
    image = Image(tmp_path / "gone.png", ("2",), "test", "0" * 64, 9, 13)
    index = Index(CLASSES, (image,), ())
    with pytest.raises(tf.errors.NotFoundError, match=r"gone\.png"):
        list(measuring_batches(index, [image], SIZE, 4))
