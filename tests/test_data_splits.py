"""The division of images: stratified, repeatable, and honest about duplicates."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.data.splits import SPLITS, split, split_many_labels
from app.errors import DataError
from tests.conftest import ROOT

SHARES = {"validation": 0.15, "test": 0.15}
quickly = settings(derandomize=True, deadline=None, max_examples=60)


def digest(value: object) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()


def images(counts: dict[str, int]) -> list[tuple[str, str]]:
    """Class and hash of as many different images as each class is to have."""
    return [(name, digest((name, i))) for name, count in counts.items() for i in range(count)]


def divide(
    given_images: list[tuple[str, str]], seed: int = 0, shares: dict[str, float] | None = None
) -> list[str]:
    names, hashes = zip(*given_images, strict=True)
    return split(names, hashes, SHARES if shares is None else shares, seed)


counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(3, 60), min_size=2)
seeds = st.integers(0, 2**31 - 1)
shares = st.fixed_dictionaries({"validation": st.floats(0.01, 0.45), "test": st.floats(0.01, 0.45)})


@quickly
@given(counts, seeds, shares)
def test_every_image_is_in_one_split_and_every_class_in_all(
    counts: dict[str, int], seed: int, shares: dict[str, float]
) -> None:
    listed = images(counts)
    chosen = divide(listed, seed, shares)
    assert len(chosen) == len(listed)
    met = {(name, part) for (name, _), part in zip(listed, chosen, strict=True)}
    assert met == {(name, part) for name in counts for part in SPLITS}


@quickly
@given(counts, seeds, shares)
def test_shares_are_kept_within_one_image_a_class(
    counts: dict[str, int], seed: int, shares: dict[str, float]
) -> None:
    listed = images(counts)
    found = Counter((n, p) for (n, _), p in zip(listed, divide(listed, seed, shares), strict=True))
    for name, count in counts.items():
        for part, share in shares.items():
            assert abs(found[name, part] - share * count) <= 1


@quickly
@given(counts, seeds, st.randoms(use_true_random=False))
def test_division_does_not_depend_on_the_order_of_the_images(
    counts: dict[str, int], seed: int, random: object
) -> None:
    # The last image of each class is in class "a" too: it has two owners to choose from.
    listed = images({name: count + 1 for name, count in counts.items()})
    listed += [("a", digest((name, count))) for name, count in counts.items()] + images({"a": 9})
    shuffled = list(listed)
    random.shuffle(shuffled)
    expected = dict(zip(listed, divide(listed, seed), strict=True))
    assert dict(zip(shuffled, divide(shuffled, seed), strict=True)) == expected


@quickly
@given(counts, seeds, st.lists(st.integers(0, 10_000), min_size=1, max_size=40))
def test_identical_images_stay_together(
    counts: dict[str, int], seed: int, copies: list[int]
) -> None:
    listed = images(counts)
    listed += [listed[copy % len(listed)] for copy in copies]
    parts: dict[str, set[str]] = {}
    for (_, content), part in zip(listed, divide(listed, seed), strict=True):
        parts.setdefault(content, set()).add(part)
    assert all(len(met) == 1 for met in parts.values())


@quickly
@given(counts, seeds, st.integers(0, 10_000))
def test_adding_an_image_moves_few_others(counts: dict[str, int], seed: int, new: int) -> None:
    listed = images(counts)
    name = sorted(counts)[new % len(counts)]
    before = divide(listed, seed)
    after = divide([*listed, (name, digest(("new", new)))], seed)
    moved = [n for (n, _), a, b in zip(listed, before, after, strict=False) if a != b]
    # Each of the two borders inside the class moves by one place at most.
    assert set(moved) <= {name}
    assert len(moved) <= 3


@quickly
@given(counts, seeds)
def test_names_of_classes_do_not_matter(counts: dict[str, int], seed: int) -> None:
    listed = images(counts)
    renamed = [(f"kind of {name}", content) for name, content in listed]
    assert divide(renamed, seed) == divide(listed, seed)


def test_same_seed_gives_the_same_division_and_another_seed_another() -> None:
    listed = images({"cat": 40, "dog": 40})
    assert divide(listed, 1) == divide(listed, 1)
    assert divide(listed, 1) != divide(listed, 2)


def test_division_stays_what_it_was_in_earlier_versions() -> None:
    # A run is repeated from its recipe and seed: other numbers here would be other splits.
    chosen = divide(images({"cat": 10, "dog": 3}), seed=7)
    assert [SPLITS.index(part) for part in chosen] == [0, 0, 2, 1, 0, 1, 0, 2, 0, 0, 1, 2, 0]


def test_usual_shares_of_a_hundred_images() -> None:
    assert Counter(divide(images({"cat": 100}))) == {"train": 70, "validation": 15, "test": 15}


def test_training_keeps_an_image_however_large_the_other_shares() -> None:
    found = Counter(divide(images({"cat": 10}), shares={"validation": 0.9, "test": 0.9}))
    assert found["train"] == 1
    assert found["test"] >= 1


def test_without_other_shares_everything_is_trained_on() -> None:
    assert set(divide(images({"cat": 2}), shares={})) == {"train"}


@pytest.mark.parametrize("count", [1, 2])
def test_class_with_fewer_than_three_images_is_refused_by_name(count: int) -> None:
    with pytest.raises(DataError) as caught:
        divide(images({"cat": 9, "rare fern": count}))
    message = str(caught.value)
    assert "\n" not in message
    assert f"class 'rare fern' has {count} different image" in message
    assert "at least 3" in message
    assert "add some" in message


def test_copies_of_two_images_do_not_make_a_class_of_three() -> None:
    listed = images({"cat": 9, "dog": 2})
    with pytest.raises(DataError, match="'dog' has 2 different images"):
        divide([*listed, listed[-1], listed[-1]])


def test_class_that_only_repeats_images_of_others_is_refused() -> None:
    listed = images({"cat": 9})
    with pytest.raises(DataError, match="'tomcat' has 0 different images of its own"):
        divide([*listed, *(("tomcat", content) for _, content in listed[:5])])


def test_two_images_do_when_only_validation_is_taken() -> None:
    chosen = divide(images({"cat": 2, "dog": 2}), shares={"validation": 0.15})
    assert Counter(chosen) == {"train": 2, "validation": 2}


NAMES = "abcdef"
some_labels = st.lists(
    st.lists(st.sampled_from(NAMES), max_size=4, unique=True), min_size=30, max_size=80
)


def divide_many(
    labels: list[list[str]], seed: int = 0, shares: dict[str, float] | None = None
) -> list[str]:
    hashes = [digest(number) for number in range(len(labels))]
    return split_many_labels(labels, hashes, SHARES if shares is None else shares, seed)


def counted(labels: list[list[str]], chosen: list[str]) -> Counter[tuple[str, str]]:
    return Counter((n, p) for names, p in zip(labels, chosen, strict=True) for n in names)


@quickly
@given(some_labels, seeds, shares)
def test_every_label_is_trained_on_and_every_split_has_an_image(
    labels: list[list[str]], seed: int, shares: dict[str, float]
) -> None:
    chosen = divide_many(labels, seed, shares)
    found = counted(labels, chosen)
    assert set(chosen) == set(SPLITS)
    assert all(found[name, "train"] for names in labels for name in names)


@quickly
@given(some_labels, seeds, st.randoms(use_true_random=False))
def test_division_of_labels_does_not_depend_on_the_order_of_the_images(
    labels: list[list[str]], seed: int, random: object
) -> None:
    numbered = list(enumerate(labels))
    random.shuffle(numbered)
    expected = divide_many(labels, seed)
    hashes = [digest(number) for number, _ in numbered]
    names = [random.sample(each, len(each)) for _, each in numbered]
    found = split_many_labels(names, hashes, SHARES, seed)
    assert found == [expected[number] for number, _ in numbered]


@quickly
@given(some_labels, seeds, st.lists(st.integers(0, 10_000), min_size=1, max_size=40))
def test_identical_images_stay_together_whatever_their_labels(
    labels: list[list[str]], seed: int, copies: list[int]
) -> None:
    numbers = [*range(len(labels)), *(copy % len(labels) for copy in copies)]
    many = [*labels, *([NAMES[copy % len(NAMES)]] for copy in copies)]
    chosen = split_many_labels(many, [digest(number) for number in numbers], SHARES, seed)
    assert all(part == chosen[number] for number, part in zip(numbers, chosen, strict=True))


def long_tailed(count: int, seed: int) -> list[list[str]]:
    """Labels that occur in a half, a third, ... of the images, rare ones beside common ones."""
    random = np.random.default_rng(seed)
    occurs = random.random((count, 20)) < 1 / np.arange(2, 22) ** 1.3
    return [[f"label {label}" for label in np.flatnonzero(row)] for row in occurs]


def test_labels_are_shared_out_as_images_are_and_far_better_than_by_lot() -> None:
    labels = long_tailed(600, seed=1)
    chosen = divide_many(labels)
    assert Counter(chosen) == {"train": 420, "validation": 90, "test": 90}
    total = Counter(name for names in labels for name in names)

    def off(chosen: list[str]) -> float:
        """The mean distance from the fair number of images of a label in a split."""
        found = counted(labels, chosen)
        parts = [(name, part) for name in total for part in SHARES]
        return np.mean([abs(found[n, part] - SHARES[part] * total[n]) for n, part in parts])

    by_lot = np.random.default_rng(0).permutation(chosen).tolist()
    assert off(chosen) < 0.6
    assert off(chosen) < off(by_lot) / 4


def test_one_label_an_image_is_shared_out_as_classes_are() -> None:
    labels = [[name] for name, count in {"a": 100, "b": 40, "c": 3}.items() for _ in range(count)]
    found = counted(labels, divide_many(labels))
    assert [found["a", part] for part in SPLITS] == [70, 15, 15]
    assert [found["b", part] for part in SPLITS] == [28, 6, 6]
    assert [found["c", part] for part in SPLITS] == [1, 1, 1]


def test_same_seed_divides_labels_the_same_and_another_seed_another_way() -> None:
    labels = long_tailed(100, seed=2)
    assert divide_many(labels, 1) == divide_many(labels, 1)
    assert divide_many(labels, 1) != divide_many(labels, 2)


MANY_TIES = [long_tailed(60, seed) for seed in range(20)]


def test_division_of_labels_does_not_depend_on_the_process(python: Callable) -> None:
    """Sets of strings come in another order in each process."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.test_data_splits import MANY_TIES, digest, divide_many\n"
        "print(digest([divide_many(labels) for labels in MANY_TIES]))"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == digest([divide_many(labels) for labels in MANY_TIES])


def test_copies_carry_the_labels_of_each_of_them() -> None:
    labels = [["common"]] * 30 + [["rare"]]
    hashes = [*(digest(number) for number in range(30)), digest(7)]
    for seed in range(10):
        chosen = split_many_labels(labels, hashes, {"validation": 0.45, "test": 0.45}, seed)
        assert chosen[7] == chosen[30] == "train"


def test_label_of_one_image_is_trained_on_however_large_the_other_shares() -> None:
    labels = [["common"]] * 30 + [["rare", "common"]]
    shares = {"validation": 0.45, "test": 0.45}
    for seed in range(10):
        assert divide_many(labels, seed, shares)[-1] == "train"


def test_so_many_rare_labels_that_nothing_is_left_to_measure_are_refused() -> None:
    with pytest.raises(DataError, match="9 different images leave none for the validation split"):
        divide_many([[f"label {number}"] for number in range(9)])
