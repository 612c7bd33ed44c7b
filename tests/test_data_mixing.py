"""Mixed images and labels are shares of two; seed, epoch and step decide which."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from app.data.mixing import Mixing
from app.recipe import Augmentation

CLASSES = 4
Mixed = tuple[NDArray[np.uint8], NDArray[np.float32]]


def images(count: int = 8, height: int = 10, width: int = 6) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def marked(count: int = 8, height: int = 10, width: int = 6) -> NDArray[np.uint8]:
    """Image i has the level i everywhere: where a pixel came from can be read off it."""
    levels = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(levels, (count, height, width, 3)).copy()


def mix(
    mixup: float = 0.0,
    cutmix: float = 0.0,
    epoch: int = 0,
    step: int = 0,
    seed: int = 0,
    given: NDArray[np.uint8] | None = None,
    labels: NDArray[np.float32] | None = None,
) -> Mixed:
    """Mixes eight images; unless labels are given, each has a class of its own."""
    mixing = Mixing(Augmentation(mixup=mixup, cutmix=cutmix), seed)
    given = images() if given is None else given
    if labels is None:
        return mixing(given, np.arange(len(given)), len(given), epoch, step)
    return mixing(given, labels, CLASSES, epoch, step)


def pairs(targets: NDArray[np.float32]) -> list[tuple[int, float]]:
    """Whom each image was mixed with, and how much of it is left."""
    found = []
    for place, row in enumerate(targets.astype(np.float64)):
        others = [other for other in np.flatnonzero(row) if other != place]
        assert len(others) <= 1
        found.append((others[0] if others else place, row[place]))
    return found


def test_mixing_says_whether_there_is_anything_to_do() -> None:
    assert not Mixing(Augmentation(), 0).mixes
    assert Mixing(Augmentation(mixup=0.2), 0).mixes
    assert Mixing(Augmentation(cutmix=1.0), 0).mixes


@pytest.mark.parametrize("step", range(5))
def test_mixup_blends_pixels_by_the_shares_of_the_labels(step: int) -> None:
    mixed, targets = mix(mixup=1.0, step=step)
    given = images().astype(np.float64)
    assert mixed.dtype == np.uint8
    for place, (other, share) in enumerate(pairs(targets)):
        wanted = share * given[place] + (1 - share) * given[other]
        # To the nearest level; which of two, at a half, is up to the rounding of a float32.
        assert np.abs(mixed[place] - wanted).max() <= 0.5 + 1e-3
    assert len({round(share, 6) for other, share in pairs(targets) if share < 1}) == 1


@pytest.mark.parametrize("step", range(5))
def test_cutmix_gives_a_box_of_another_image_and_its_share_of_the_label(step: int) -> None:
    mixed, targets = mix(cutmix=1.0, step=step, given=marked())
    for place, (other, share) in enumerate(pairs(targets)):
        foreign = (mixed[place] != place).any(axis=2)
        assert set(np.unique(mixed[place])) <= {place, other}
        if other != place:
            rows, columns = foreign.any(axis=1).nonzero()[0], foreign.any(axis=0).nonzero()[0]
            assert foreign[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
            assert share == pytest.approx(1 - foreign.mean(), abs=1e-6)


def test_a_box_may_reach_beyond_every_border_and_counts_only_what_lies_inside() -> None:
    touching = np.zeros(4, int)
    for step in range(60):
        mixed, targets = mix(cutmix=1.0, step=step, given=marked())
        place = next(place for place, (other, _) in enumerate(pairs(targets)) if other != place)
        foreign = (mixed[place] != place).any(axis=2)
        assert pairs(targets)[place][1] == pytest.approx(1 - foreign.mean(), abs=1e-6)
        edges = (foreign[0], foreign[-1], foreign[:, 0], foreign[:, -1])
        touching += [edge.any() and not foreign.all() for edge in edges]
    assert (touching > 5).all()


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_shares_are_of_the_beta_distribution(kind: str) -> None:
    found = []
    for step in range(800):
        _, targets = mix(**{kind: 0.5}, step=step, given=marked(4, 16, 16))
        found += [share for place, (o, share) in enumerate(pairs(targets)) if o != place][:1]
    random = np.random.default_rng(7)
    wanted = random.beta(0.5, 0.5, 50_000)
    if kind == "cutmix":  # less is taken of the boxes that reach beyond a border
        inside = []
        for _ in range(2):
            middles, sides = random.uniform(0, 1, 50_000), np.sqrt(1 - wanted)
            inside.append((middles + sides / 2).clip(max=1) - (middles - sides / 2).clip(min=0))
        wanted = 1 - inside[0] * inside[1]
    # The standard errors of 800 shares are about 0.012; whole pixels shift them a little.
    assert np.mean(found) == pytest.approx(wanted.mean(), abs=0.05)
    assert np.mean(np.square(found)) == pytest.approx(np.square(wanted).mean(), abs=0.05)


@pytest.mark.parametrize("many", [False, True])
def test_labels_become_shares_of_the_classes(many: bool) -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, (8, CLASSES)).astype("float32")
    if not many:
        labels = random.integers(0, CLASSES, 8)
    _, own = mix(mixup=1.0)
    _, targets = mix(mixup=1.0, labels=labels)
    hot = labels if many else np.eye(CLASSES)[labels]
    assert targets.dtype == np.float32
    assert targets.shape == (8, CLASSES)
    for place, (other, share) in enumerate(pairs(own)):
        wanted = share * hot[place] + (1 - share) * hot[other]
        np.testing.assert_allclose(targets[place], wanted, rtol=1e-6)


def test_two_classes_give_two_columns_that_add_up_to_one() -> None:
    mixing = Mixing(Augmentation(cutmix=1.0), 0)
    _, targets = mixing(images(), np.arange(8) % 2, 2, 0, 0)
    assert targets.shape == (8, 2)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)


def test_each_batch_takes_one_of_both_ways_with_equal_chance() -> None:
    cut = 0
    for step in range(200):
        mixed, targets = mix(mixup=1.0, cutmix=1.0, step=step, given=marked() * 30)
        of_two = [
            set(np.unique(mixed[place])) <= {place * 30, other * 30}
            for place, (other, share) in enumerate(pairs(targets))
            if other != place and 0.02 < share < 0.98
        ]
        assert len(set(of_two)) <= 1  # a batch is mixed in one way
        cut += bool(of_two) and of_two[0]
    assert 70 <= cut <= 130


@pytest.mark.parametrize("kind", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_seed_epoch_and_step_alone_decide(kind: dict[str, float]) -> None:
    reference, targets = mix(**kind, epoch=1, step=2, seed=3)
    again, targets_again = mix(**kind, epoch=np.int64(1), step=np.int64(2), seed=3)
    assert np.array_equal(reference, again)
    assert np.array_equal(targets, targets_again)
    for other in ({"epoch": 2, "step": 1, "seed": 3}, {"epoch": 1, "step": 2, "seed": 4}):
        assert not np.array_equal(targets, mix(**kind, **other)[1])
    assert len({mix(**kind, step=step)[1].tobytes() for step in range(20)}) == 20


def test_the_images_that_are_given_stay_as_they_are() -> None:
    given = images()
    given.flags.writeable = False
    for kind in ("mixup", "cutmix"):
        mix(**{kind: 1.0}, given=given)
    assert np.array_equal(given, images())


def test_one_image_is_mixed_with_itself() -> None:
    for kind in ("mixup", "cutmix"):
        mixed, targets = mix(**{kind: 1.0}, given=images(1))
        assert np.array_equal(mixed, images(1))
        np.testing.assert_allclose(targets, [[1]], rtol=1e-6)
