"""Paired intervals against what must hold, and against simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from app.evaluation import comparison
from app.evaluation.comparison import chance_explains, paired_interval

quickly = hypothesis_settings(derandomize=True, deadline=None, max_examples=40)
# Of each row: was the first right, was the second, and which run is it from.
rows = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1, max_size=60)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "RESAMPLES", 499)


@quickly
@given(rows)
def test_the_other_way_round_it_is_the_same_with_the_other_sign(
    answers: list[tuple[bool, bool, int]],
) -> None:
    first, second, groups = zip(*answers, strict=True)
    difference, low, high = paired_interval(first, second, groups)
    there_and_back = paired_interval(second, first, groups)
    assert (-difference, -high, -low) == pytest.approx(there_and_back, abs=1e-12)


@quickly
@given(rows)
def test_equal_answers_differ_by_exactly_nothing(answers: list[tuple[bool, bool, int]]) -> None:
    first, _, groups = zip(*answers, strict=True)
    assert paired_interval(first, first, groups) == (0.0, 0.0, 0.0)


@quickly
@given(rows)
def test_the_difference_is_the_mean_over_runs_and_the_interval_stays_possible(
    answers: list[tuple[bool, bool, int]],
) -> None:
    first, second, groups = zip(*answers, strict=True)
    of_runs = [
        np.mean([float(a) - float(b) for a, b, run in answers if run == each])
        for each in set(groups)
    ]
    difference, low, high = paired_interval(first, second, groups)
    assert difference == pytest.approx(np.mean(of_runs))
    assert -1 <= low <= high <= 1


def test_the_interval_is_that_of_drawing_images_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "RESAMPLES", 9_999)
    random = np.random.default_rng(3)
    first, second = random.random(200) < 0.9, random.random(200) < 0.8
    better = first.astype(float) - second
    means = [better[random.integers(200, size=200)].mean() for _ in range(4000)]
    found = paired_interval(first, second)
    assert found[0] == pytest.approx(better.mean())
    assert found[1:] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.006)


def test_pairing_is_worth_more_than_the_two_accuracies_apart() -> None:
    random = np.random.default_rng(0)
    second = random.random(300) < 0.8
    first = second | (random.random(300) < 0.3)  # right wherever the other is
    _, low, high = paired_interval(first, second)
    apart = 1.96 * np.sqrt(first.var() / 300 + second.var() / 300) * 2
    assert low > 0
    assert high - low < 0.7 * apart


def test_runs_that_disagree_widen_the_interval() -> None:
    second = np.tile([True, True, False, False], 50)
    alike = np.tile([True, True, True, False], 50)
    runs = np.repeat([0, 1], 100)
    unlike = np.concatenate([np.ones(100, bool), second[:100]])
    assert np.mean(unlike) == np.mean(alike)
    narrow, wide = (paired_interval(each, second, runs) for each in (alike, unlike))
    assert wide[2] - wide[1] > 2 * (narrow[2] - narrow[1])


def test_the_same_test_images_again_are_no_new_evidence_about_images() -> None:
    """Five runs that answer alike: as many images as one run has, not five times as many."""
    random = np.random.default_rng(1)
    first, second = random.random(120) < 0.8, random.random(120) < 0.7
    _, low, high = paired_interval(first, second)
    runs, images = np.repeat(range(5), 120), np.tile(range(120), 5)
    again = paired_interval(np.tile(first, 5), np.tile(second, 5), runs, images=images)
    other = paired_interval(np.tile(first, 5), np.tile(second, 5), runs)
    assert again[2] - again[1] == pytest.approx(high - low, rel=0.15)
    assert other[2] - other[1] < 0.75 * (high - low)


@pytest.mark.parametrize("runs", [1, 3])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(runs: int) -> None:
    """With several runs more often: there it is wide rather than narrow."""
    random = np.random.default_rng(runs)
    groups, hits = np.repeat(range(runs), 100), 0
    for trial in range(200):
        luck = random.random((2, 100 * runs))
        each_run = np.repeat(random.normal(0.05, 0.01 * (runs > 1), runs), 100)
        first, second = luck[0] < 0.8 + each_run, luck[1] < 0.8
        _, low, high = paired_interval(first, second, groups, seed=trial)
        hits += low <= 0.05 <= high
    assert hits / 200 >= 0.9  # three standard errors below 0.95
    assert runs > 1 or hits / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval() -> None:
    first, second = np.arange(50) % 3 > 0, np.arange(50) % 2 > 0
    assert paired_interval(first, second, seed=4) == paired_interval(first, second, seed=4)
    assert paired_interval(first, second, seed=4) != paired_interval(first, second, seed=5)


def test_many_images_are_weighed_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = np.arange(50) % 3 > 0, np.arange(50) % 2 > 0
    whole = paired_interval(first, second)
    monkeypatch.setattr(comparison, "_MOST_NUMBERS", 120)
    assert paired_interval(first, second) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "groups"), [([], [], None), ([True], [True, False], None), ([1], [1], [])]
)
def test_what_cannot_be_paired_is_refused(
    first: list[bool], second: list[bool], groups: list[int] | None
) -> None:
    with pytest.raises(ValueError, match=r"in pairs|rows"):
        paired_interval(first, second, groups)


def test_one_image_tells_nothing_for_sure() -> None:
    assert paired_interval([True], [False]) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(("better", "found"), [(5, False), (6, True)])
def test_few_images_that_all_speak_for_one_side_may_be_chance(better: int, found: bool) -> None:
    """By the sign test: 2 / 2**5 is more than 5 %, 2 / 2**6 is less."""
    second = np.arange(150) >= better
    _, low, high = paired_interval(np.ones(150), second)
    assert (low > 0) == found
    assert paired_interval(second, np.ones(150))[2] == pytest.approx(-low)
    assert high > 0


@quickly
@given(st.integers(0, 1500), st.integers(0, 1500))
def test_the_sign_test_is_that_of_scipy(won: int, lost: int) -> None:
    if won + lost:
        p = binomtest(won, won + lost, alternative="greater").pvalue
        if abs(p - 0.025) > 0.001:
            assert chance_explains(won, lost) == (p >= 0.025)


def test_nothing_won_and_nothing_lost_is_chance() -> None:
    assert chance_explains(0, 0)
