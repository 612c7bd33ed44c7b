"""What is said of curves: each rule on a curve that shows it and on one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.recipe import Augmentation, Head, Recipe, Stage
from app.training.lessons import MOST, lessons

quickly = hypothesis_settings(derandomize=True, deadline=None, max_examples=200)
RECIPE = Recipe(
    name="plain",
    augmentation=Augmentation("none"),
    head=Head(dropout=0.0),
    stages={
        "warm_up": Stage(epochs=4, learning_rate=3e-3),
        "fine_tune": Stage(epochs=6, learning_rate=3e-4, unfreeze="top:2"),
    },
)
# (loss, accuracy, validation loss, validation accuracy) an epoch.
Course = Sequence[tuple[float, float, float, float]]
HEALTHY = [
    (1.5, 0.5, 1.2, 0.6),
    (0.8, 0.8, 0.7, 0.8),
    (0.4, 0.9, 0.42, 0.89),
    (0.3, 0.92, 0.35, 0.9),
    (0.26, 0.93, 0.34, 0.9),
    (0.24, 0.94, 0.34, 0.9),
    (0.23, 0.94, 0.34, 0.9),
]


def rows(**stages: Course) -> list[dict[str, Any]]:
    names = ("loss", "accuracy", "validation_loss", "validation_accuracy")
    return [
        {"stage": stage, "epoch": epoch, **dict(zip(names, numbers, strict=True))}
        for stage, course in stages.items()
        for epoch, numbers in enumerate(course, 1)
    ]


def said(recipe: Recipe = RECIPE, **stages: Course) -> str:
    return "\n".join(lessons(rows(**stages), recipe))


def mixing(recipe: Recipe = RECIPE) -> Recipe:
    return replace(recipe, augmentation=Augmentation("light", mixup=0.2))


def test_of_healthy_curves_nothing_is_said_in_one_sentence() -> None:
    found = lessons(rows(fine_tune=HEALTHY), RECIPE)
    assert len(found) == 1
    assert found[0].startswith("Nothing stands out")


@pytest.mark.parametrize("history", [[], rows(warm_up=HEALTHY[:1])])
def test_of_one_epoch_or_none_nothing_can_be_learned(history: list[dict[str, Any]]) -> None:
    assert lessons(history, RECIPE) == [
        "An epoch alone has no course: nothing can be learned from it."
    ]


OVERFIT = [*HEALTHY[:4], (0.1, 0.97, 0.3, 0.85), (0.02, 1.0, 0.31, 0.84)]


def test_overfitting_is_told_by_how_much_at_the_best_epoch_and_at_the_last() -> None:
    text = said(fine_tune=OVERFIT)
    assert "12 points of accuracy at the best epoch (0.970 against 0.850, epoch 5" in text
    assert "and by 16 at the last" in text


def test_a_gap_at_the_best_epoch_or_at_the_last_is_enough() -> None:
    close, wide = (0.05, 0.95, 0.31, 0.9), (0.05, 0.97, 0.3, 0.85)
    assert "Overfitting" in said(fine_tune=[*HEALTHY[:4], wide, close])
    assert "Overfitting" in said(fine_tune=[*HEALTHY[:4], close, (0.05, 0.97, 0.32, 0.85)])


def test_a_gap_as_large_as_chance_makes_it_is_no_overfitting() -> None:
    close = [*HEALTHY[:4], (0.1, 0.95, 0.34, 0.9), (0.05, 0.96, 0.34, 0.88)]
    assert "Overfitting" not in said(fine_tune=close)


def test_with_blended_images_accuracies_are_not_compared() -> None:
    text = said(mixing(), fine_tune=OVERFIT)
    assert "Overfitting" not in text
    low = [(1.5 - 0.01 * n, 0.5, 1.0, 0.5) for n in range(6)]
    assert "Underfitting" not in said(mixing(), fine_tune=low)
    assert "overfitting does not show" in said(mixing(), fine_tune=HEALTHY)


RISING = [
    (1.0, 0.7, 0.8, 0.7),
    (0.6, 0.8, 0.5, 0.8),
    (0.4, 0.84, 0.55, 0.8),
    (0.3, 0.86, 0.6, 0.8),
    (0.2, 0.88, 0.66, 0.8),
]


@pytest.mark.parametrize("recipe", [RECIPE, mixing()])
def test_a_validation_loss_that_turns_is_told(recipe: Recipe) -> None:
    text = said(recipe, fine_tune=RISING)
    assert "After epoch 2 of fine_tune the validation loss rises from 0.500 to 0.660" in text


def test_what_is_not_used_yet_is_recommended_before_what_is() -> None:
    some = replace(RECIPE, augmentation=Augmentation("light"), head=Head(dropout=0.2))
    text = said(some, fine_tune=OVERFIT)
    unused, _, used = text.partition("used, and could go further")
    for name in ("stages.fine_tune.weight_decay", "label_smoothing", "augmentation.mixup"):
        assert name in unused
        assert name not in used
    for name in ("augmentation.preset (now light)", "head.dropout (now 0.2)", "now top:2"):
        assert name in used
        assert name not in unused


def test_a_hinge_loss_is_recommended_nothing_that_it_cannot_take() -> None:
    hinge = {"fine_tune": Stage(epochs=6, loss="hinge")}
    text = said(replace(RECIPE, stages=hinge), fine_tune=OVERFIT)
    assert "Overfitting" in text
    assert "augmentation.preset medium" in text
    assert "mixup" not in text
    assert "label_smoothing" not in text
    assert "unfrozen" not in text  # the head alone trains


STUCK = [(1.5 - 0.2 * n / (n + 1), 0.6 + 0.01 * (n > 2), 1.3, 0.6) for n in range(6)]


def test_underfitting_names_what_would_make_the_network_stronger() -> None:
    text = said(fine_tune=STUCK)
    assert "Underfitting: accuracy is 0.610 even in training, 0.600 in validation" in text
    assert "stages.fine_tune.unfreeze (now top:2)" in text


def test_where_all_is_unfrozen_already_that_is_not_recommended() -> None:
    every = replace(RECIPE, stages={"fine_tune": Stage(epochs=6, unfreeze="all")})
    text = said(every, fine_tune=STUCK)
    assert "a larger backbone" in text
    assert "unfreeze" not in text


def test_a_training_worse_than_validation_is_put_down_to_what_holds_it_back() -> None:
    held = [(loss, 0.6, 1.2, 0.75) for loss, *_ in STUCK]
    strong = replace(RECIPE, augmentation=Augmentation("strong"))
    assert "weaken augmentation.preset (now strong)" in said(strong, fine_tune=held)


def test_a_loss_that_does_not_move_asks_for_a_higher_rate() -> None:
    text = said(fine_tune=[(1.609, 0.2, 1.609, 0.2)] * 6)
    assert "does not move, so raise stages.fine_tune.learning_rate (now 0.0003)" in text


def test_good_accuracy_is_no_underfitting() -> None:
    assert "Underfitting" not in said(fine_tune=HEALTHY)
    held_back = [(loss, 0.6, 0.4, 0.9) for loss, *_ in STUCK]
    assert "Underfitting" not in said(fine_tune=held_back)


def test_it_is_the_last_stage_that_has_to_fit() -> None:
    text = said(warm_up=STUCK, fine_tune=[(1.1, 0.63, 1.29, 0.61)] * 6)
    assert "accuracy is 0.630" in text
    assert "raise stages.fine_tune.learning_rate" in text


CUT_OFF = [*HEALTHY[:3], (0.3, 0.91, 0.35, 0.9)]


def test_a_best_epoch_at_the_very_end_asks_for_more_epochs() -> None:
    text = said(fine_tune=CUT_OFF)
    assert "Stage fine_tune was still improving when it stopped" in text
    assert "its last epoch is clearly the best: raise stages.fine_tune.epochs (now 6)" in text


def test_a_clear_fall_before_a_last_epoch_that_is_not_the_best_asks_for_more_epochs() -> None:
    falling = [1.2, 1.1, 1.0, 0.9, 0.8, 0.70, 0.60, 0.605]
    course = [(loss * 0.9, 0.9, loss, 0.9) for loss in falling]
    assert "its validation loss still fell: raise" in said(fine_tune=course)


def test_a_hair_better_at_the_end_is_not_still_improving() -> None:
    for before, after in ((0.34, 0.335), (1.0, 0.96), (0.03, 0.015)):
        course = [(loss, 0.9, before, 0.9) for loss, *_ in HEALTHY]
        text = said(fine_tune=[*course, (0.22, 0.94, after, 0.9)])
        assert "still improving" not in text
    fell_far = [(3.0, 0.2, 3.0, 0.2), *HEALTHY[2:4]]
    assert "its last epoch is clearly the best" in said(fine_tune=fell_far)


def test_a_stage_that_is_gone_on_with_need_not_have_finished() -> None:
    later = [(0.28, 0.92, 0.33, 0.9), (0.27, 0.92, 0.33, 0.9)]
    assert "still improving" not in said(warm_up=CUT_OFF, fine_tune=later)


def test_a_training_loss_that_swings_or_rises_asks_for_a_lower_rate() -> None:
    swinging = [(loss, 0.7, 0.9, 0.7) for loss in (1.0, 1.3, 0.9, 1.4, 0.9)]
    text = said(fine_tune=swinging)
    assert "training loss of fine_tune rises or swings, from 1 to 0.9" in text
    assert "lower stages.fine_tune.learning_rate (now 0.0003)" in text
    assert "swings" not in said(fine_tune=HEALTHY)


CREEPING = [(2.3 - 0.02 * n, 0.2, 2.31 - 0.02 * n, 0.2) for n in range(8)]


def test_a_training_loss_that_creeps_asks_for_a_higher_rate_and_not_for_more_epochs() -> None:
    text = said(fine_tune=CREEPING)
    assert "slowly and in a straight line, from 2.3 to 2.16: raise" in text
    assert "still improving" not in text
    assert "Underfitting" not in text


def test_one_that_has_arrived_may_creep() -> None:
    arrived = [(loss, 0.97, validation, 0.96) for loss, _, validation, _ in CREEPING]
    assert "straight line" not in said(fine_tune=arrived)
    arriving = [(loss, 0.9 + 0.01 * n, 1.0, 0.9) for n, (loss, *_) in enumerate(CREEPING)]
    assert "straight line" not in said(fine_tune=arriving)


def test_a_wrong_rate_in_one_stage_leaves_the_end_of_the_next_to_be_judged() -> None:
    text = said(warm_up=CREEPING, fine_tune=CUT_OFF)
    assert "training loss of warm_up falls slowly" in text
    assert "Stage fine_tune was still improving" in text


def test_a_stage_that_brought_nothing_is_told_with_both_losses() -> None:
    worse = [(0.25, 0.93, 0.5, 0.88), (0.2, 0.94, 0.36, 0.9), (0.19, 0.94, 0.36, 0.9)]
    text = said(warm_up=HEALTHY, fine_tune=worse)
    assert "Stage fine_tune brought no better validation loss, 0.360 after 0.340" in text
    better = [(0.25, 0.93, 0.5, 0.9), (0.2, 0.94, 0.33, 0.9)]
    assert "brought no better" not in said(warm_up=HEALTHY, fine_tune=better)


def test_a_stage_that_was_on_its_way_back_is_given_more_epochs() -> None:
    recovering = [(1.0 - 0.1 * n, 0.8, 0.9 - 0.1 * n, 0.8) for n in range(5)]
    text = said(warm_up=HEALTHY, fine_tune=recovering)
    assert "it was still falling, so raise stages.fine_tune.epochs (now 6)" in text


def test_a_loss_that_is_no_number_comes_first() -> None:
    found = lessons(rows(fine_tune=[*OVERFIT, (float("nan"), 0.2, 1.0, 0.2)]), RECIPE)
    assert found[0] == (
        "The loss became no number in epoch 7 of fine_tune: "
        "lower stages.fine_tune.learning_rate (now 0.0003)."
    )
    assert "Overfitting" in found[1]


def test_numbers_as_text_say_the_same_as_numbers() -> None:
    numbers = rows(fine_tune=OVERFIT)
    text = [{name: str(cell) for name, cell in row.items()} for row in numbers]
    assert lessons(text, RECIPE) == lessons(numbers, RECIPE)


cells = st.floats() | st.floats(0, 3) | st.sampled_from(["", "0.5", "nan", "what", None])
names = st.sampled_from(["warm_up", "fine_tune", "another", ""])
anything = st.fixed_dictionaries(
    {},
    optional={
        "stage": names,
        "epoch": st.integers() | st.text(),
        "loss": cells,
        "accuracy": cells,
        "validation_loss": cells,
        "validation_accuracy": cells,
    },
)
sensible = st.tuples(*[st.floats(0, 5), st.floats(0, 1)] * 2)
whole = st.lists(st.tuples(names, sensible), max_size=12)


@quickly
@given(st.lists(anything, max_size=12), st.booleans())
def test_any_rows_give_one_to_six_sentences(history: list[dict[str, Any]], mixes: bool) -> None:
    found = lessons(history, mixing() if mixes else RECIPE)
    assert 1 <= len(found) <= MOST == 6


@quickly
@given(whole)
def test_any_course_gives_whole_sentences_each_said_once(history: list[Any]) -> None:
    found = lessons([row for name, one in history for row in rows(**{name: [one]})], RECIPE)
    assert 1 <= len(found) == len(set(found)) <= MOST
    assert all(each.endswith(".") and "nan" not in each for each in found)
