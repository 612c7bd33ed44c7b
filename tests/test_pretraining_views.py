"""Batches of views: two of each image, made by the number of the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from app import Pretraining, Unlabelled
from app.data.generated import generate
from app.pretrain_recipe import override
from app.pretraining.descriptors import learn_descriptors
from app.pretraining.views import Views

LEARNED = learn_descriptors(generate(range(60), 32), seed=0)
RECIPE = Pretraining(name="a", data=Unlabelled("somewhere", batch_size=4, image_size=32))


class Colored:
    """Ten images, each of a level of its own."""

    count: int | None = 10

    def images(self, numbers: np.ndarray) -> Sequence[np.ndarray]:
        return [np.full((40, 40, 3), 20 * (number + 1), np.uint8) for number in numbers]

    def keys(self, numbers: np.ndarray) -> list[int]:
        return (numbers + 1000).tolist()


class Endless(Colored):
    count = None


def views(instances: Colored | None = None, **changes: object) -> Views:
    return Views(override(RECIPE, {"preset": "light", **changes}), 32, instances)  # type: ignore[dict-item]  # leaves


def numbers_of(pixels: np.ndarray) -> list[int]:
    return [round(float(each.mean()) / 20) - 1 for each in pixels]


def test_both_views_of_an_image_stand_half_a_batch_apart() -> None:
    for pixels, _ in views(Colored()).batches(0, 3).as_numpy_iterator():
        assert pixels.shape == (8, 32, 32, 3)
        assert numbers_of(pixels[:4]) == numbers_of(pixels[4:])


def test_each_image_comes_at_most_once_an_epoch_in_another_order() -> None:
    """Of ten, two batches of four are made: no batch holds the end of one epoch and of another."""
    seen = [
        number
        for pixels, _ in views(Colored()).batches(0, 40).as_numpy_iterator()
        for number in numbers_of(pixels[:4])
    ]
    epochs = [seen[first : first + 8] for first in range(0, len(seen), 8)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs) == 20
    assert set(seen) == set(range(10))


def test_an_image_is_varied_by_its_key_whatever_number_it_has() -> None:
    class Turned(Colored):
        def images(self, numbers: np.ndarray) -> Sequence[np.ndarray]:
            return super().images(9 - numbers)

        def keys(self, numbers: np.ndarray) -> list[int]:
            return super().keys(9 - numbers)

    def seen(instances: Colored) -> set[bytes]:
        batches = views(instances, preset="contrastive").batches(0, 20).as_numpy_iterator()
        return {each.tobytes() for pixels, _ in batches for each in pixels}

    assert len(seen(Colored()) & seen(Turned())) > 50


def test_a_step_is_the_same_wherever_one_begins() -> None:
    made = replace(views(Colored(), generated=0.5), descriptors=LEARNED)
    whole = list(made.batches(0, 4).as_numpy_iterator())
    (pixels, wanted), *_ = made.batches(2, 2).as_numpy_iterator()
    np.testing.assert_array_equal(pixels, whole[2][0])
    np.testing.assert_array_equal(wanted, whole[2][1])


def test_an_image_is_varied_in_another_way_in_each_view_and_epoch() -> None:
    made = views(None, generated=1.0, source="", preset="contrastive")
    (pixels, _), *_ = made.batches(0, 1).as_numpy_iterator()
    assert len({each.tobytes() for each in pixels}) == 8


def test_endless_images_never_come_again() -> None:
    assert numbers_of(next(views(Endless()).batches(1, 1).as_numpy_iterator())[0][:4]) == [
        4,
        5,
        6,
        7,
    ]


def test_a_share_of_a_batch_is_generated() -> None:
    (pixels, _), *_ = views(Colored(), generated=0.25).batches(0, 1).as_numpy_iterator()
    plain = [each.std() == 0 for each in pixels]
    assert plain == [True, True, True, False] * 2


def test_descriptors_are_those_of_the_views() -> None:
    made = replace(views(Colored()), descriptors=LEARNED)
    (pixels, wanted), *_ = made.batches(0, 1).as_numpy_iterator()
    np.testing.assert_array_equal(wanted, LEARNED(pixels))


def test_without_descriptors_there_is_nothing_to_foretell() -> None:
    (_, wanted), *_ = views(Colored()).batches(0, 1).as_numpy_iterator()
    np.testing.assert_array_equal(wanted, np.zeros((8, 1)))


def test_classes_are_given_for_classification() -> None:
    made = views(None, method="classification", generated=1.0, source="", classes=5)
    pixels, classes = zip(*made.batches(0, 20).as_numpy_iterator(), strict=True)
    assert pixels[0].shape == (4, 32, 32, 3)
    assert set(np.concatenate(classes).ravel().astype(int).tolist()) == set(range(5))
