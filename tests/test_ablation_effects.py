"""Effects of parts from answers to images, and how they are shown."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from app.ablation.effects import (
    Ablation,
    Answers,
    Effect,
    effect_of,
    page,
    table,
    to_csv,
)
from app.errors import RunError
from app.recipe import Recipe
from app.run_directory import Run


def answers(right: int, images: int = 40, first: int = 0) -> Answers:
    return {f"{first + number}.jpg": number < right for number in range(images)}


def test_a_part_brings_the_mean_difference_over_seeds_in_points() -> None:
    with_it = {0: answers(36), 1: answers(38, first=9), 2: answers(30, first=20)}
    without = {0: answers(30), 1: answers(30, first=9), 2: answers(29, first=20)}
    found = effect_of("head.dropout", with_it, without, failed=False)
    assert found.seeds == 3
    assert found.as_written == pytest.approx(36 / 40)
    assert found.without == pytest.approx(30 / 40)
    assert found.brought == pytest.approx(100 * np.mean([6 / 40, 8 / 40, 1 / 40]), abs=1e-3)
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.brought < found.high
    assert found.verdict == "helped"


def test_what_hurts_and_what_cannot_be_told_are_told_apart() -> None:
    hurts = effect_of("a", {0: answers(20)}, {0: answers(36)}, failed=False)
    nothing = effect_of("b", {0: answers(20)}, {0: answers(20)}, failed=False)
    assert hurts.verdict == "hurt"
    assert (nothing.brought, nothing.verdict) == (0.0, "cannot be told")


def test_images_are_paired_by_path_and_not_by_order() -> None:
    backwards = dict(reversed(answers(30).items()))
    found = effect_of("a", {0: answers(30)}, {0: backwards}, failed=False)
    assert (found.low, found.high) == (0.0, 0.0)


def test_only_seeds_with_both_runs_count() -> None:
    found = effect_of("a", {0: answers(40), 1: answers(30)}, {1: answers(30)}, failed=True)
    assert (found.seeds, found.brought, found.as_written) == (1, 0.0, 0.75)


@pytest.mark.parametrize(("failed", "verdict"), [(True, "failed"), (False, "not run yet")])
def test_without_a_pair_there_are_no_numbers(failed: bool, verdict: str) -> None:
    found = effect_of("a", {0: answers(40)}, {}, failed)
    assert found == Effect("a", verdict)


def test_other_images_for_the_same_seed_are_not_compared() -> None:
    with pytest.raises(RunError, match="the images changed meanwhile"):
        effect_of("a", {0: answers(40)}, {0: answers(40, first=1)}, failed=False)


EFFECTS = (
    Effect("head.dropout", "cannot be told", 3, 0.9, 0.8875, 1.25, -0.04, 2.5),
    Effect("transfer", "helped", 2, 0.9, 0.5, 40.0, 31.5, 48.0),
    Effect("stages.warm_up", "failed"),
)


def test_the_table_lines_up_and_shows_each_sign() -> None:
    lines = table(EFFECTS).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][0] == "part"
    assert cells[2][1:] == ["0.900", "0.887", "+1.2", "+0.0 to +2.5", "3", "cannot be told"]
    assert cells[3][3:] == ["+40.0", "+31.5 to +48.0", "2", "helped"]
    assert cells[4] == ["stages.warm_up", "", "", "", "", "0", "failed"]


def test_the_csv_holds_every_number_unrounded() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(EFFECTS))))
    assert rows[0]["without"] == "0.8875"
    assert rows[1]["low"] == "31.5"
    assert rows[2]["brought"] == ""


def test_the_page_names_failures_and_what_one_seed_leaves_out() -> None:
    failures = {"without-stages.warm_up-0": "the loss became no number"}
    one = Ablation(Recipe(name="r"), Path("x"), (0,), EFFECTS, failures)
    text = page(one)
    assert table(EFFECTS) in text
    assert "without-stages.warm_up-0 failed: the loss became no number" in text
    assert "With one seed" in text
    assert "With one seed" not in page(Ablation(one.recipe, one.directory, (0, 1), EFFECTS, {}))


def test_an_ablation_failed_if_nothing_could_be_compared() -> None:
    recipe, place = Recipe(name="r"), Path("x")
    assert Ablation(recipe, place, (0,), EFFECTS[2:], {}).failed
    assert not Ablation(recipe, place, (0,), EFFECTS, {}).failed


def test_answers_are_those_to_test_images(tmp_path: Path) -> None:
    run = Run(tmp_path, Recipe(name="r"))
    run.predictions.write_text(
        "file,split,class,label,probability_a\n"
        "1.jpg,test,a,a,1\n2.jpg,test,a,b,1\n3.jpg,validation,a,a,1\n4.jpg,test,a;b,a;b,1\n"
    )
    assert run.right_answers() == {"1.jpg": True, "2.jpg": False, "4.jpg": True}


@pytest.mark.parametrize("content", [None, b"file,what\n1.jpg,test\n", b"\xff\xfe\x00"])
def test_answers_that_cannot_be_read_name_the_file(tmp_path: Path, content: bytes | None) -> None:
    run = Run(tmp_path, Recipe(name="r"))
    if content is not None:
        run.predictions.write_bytes(content)
    with pytest.raises(RunError, match=r"predictions.csv cannot be read"):
        run.right_answers()
