"""Drawings, importance and the page of a search, from trials that are made up."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from app import Recipe
from app.tuning.drawing import bars, curves, parallel_coordinates
from app.tuning.importance import column, importance, varied
from app.tuning.median import LEAST_TRIALS, is_hopeless
from app.tuning.page import page
from app.tuning.request import Request, Tuning
from app.tuning.results import lines, to_csv
from app.tuning.table import Table, row
from app.tuning.trials import COMPLETED, FAILED, STOPPED, Outcome, Trial


def made(number: int) -> Trial:
    """The learning rate decides the accuracy, and the dropout does nothing."""
    draw = random.Random(number)
    rate, dropout = 10 ** draw.uniform(-5, -1), draw.choice([0.0, 0.2, 0.4])
    accuracy = 0.9 - 0.1 * abs(np.log10(rate) + 3)
    changes = {"stages.head.learning_rate": rate, "head.dropout": dropout, "head.units": ()}
    if number % 3:
        changes["head.activation"] = "<b>&"  # as it must not stand in a page
    outcome = Outcome(COMPLETED, float(accuracy), 0.5, 100, (0.3, float(accuracy)), seconds=2.0)
    return Trial(number, changes, changes, outcome=outcome)


TRIALS = [
    Trial(0, outcome=Outcome(COMPLETED, 0.7, 0.6, 100, (0.5, 0.7))),
    *(made(number) for number in range(1, 30)),
    Trial(30, {}, {"head.dropout": 0.1}, outcome=Outcome(FAILED, said="<i>no memory</i>")),
    Trial(32, {}, {"head.dropout": 0.3}),  # the clock cut it
    Trial(31, {}, {"head.dropout": 0.2}, outcome=Outcome(STOPPED, 0.3, 2.0, 100, (0.3,))),
]
RESULTS = {
    "trials": 32,
    "winner": 3,
    "validation_accuracy": 0.9,
    "inflation": 0.021,
    "test_accuracy": (0.85, 0.8, 0.9),
    "as_written": {"validation_accuracy": 0.7, "test_accuracy": (0.8, 0.7, 0.9)},
    "gain": (0.05, -0.01, 0.11),
}


def test_importance_finds_the_setting_that_decides() -> None:
    shares = importance(TRIALS)
    assert next(iter(shares)) == "stages.head.learning_rate"
    assert shares["stages.head.learning_rate"] > 0.7
    assert sum(shares.values()) == pytest.approx(1)
    assert importance(TRIALS[:5]) == {}


def test_importance_of_noise_is_not_told() -> None:
    noise = [
        Trial(
            n,
            {},
            {"head.dropout": n / 100},
            outcome=Outcome(COMPLETED, random.Random(n).random(), 1),
        )
        for n in range(1, 30)
    ]
    assert importance(noise) == {}


def test_a_column_is_a_scale_from_0_to_1() -> None:
    np.testing.assert_allclose(column([1e-4, 1e-3, 1e-2]), [0, 0.5, 1], atol=1e-9)
    np.testing.assert_allclose(column([0.0, 0.2, 0.4, None]), [0, 0.5, 1, -0.1])
    np.testing.assert_allclose(column(["b", "a", (1, 2), True]), [1, 2 / 3, 0, 1 / 3])
    np.testing.assert_allclose(column([3, 3]), [0, 0])


def test_settings_that_never_differ_are_not_drawn() -> None:
    assert "head.units" not in varied(TRIALS[1:30])
    assert "head.activation" in varied(TRIALS[1:30])


@pytest.mark.parametrize("draw", [parallel_coordinates, curves])
def test_a_drawing_has_a_line_for_each_trial_and_is_xml(draw: object) -> None:
    svg = draw(TRIALS, 3)  # type: ignore[operator]  # one of two functions
    root = ElementTree.fromstring(svg)
    lines = root.findall("polyline")
    assert len(lines) >= 29
    assert [each.get("class") for each in lines].count("winner") == 1
    assert root.get("role") == "img"
    assert root.get("aria-label")
    for each in lines:
        for point in str(each.get("points")).split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 960
            assert 0 <= y <= 360


def test_bars_are_xml_and_name_their_share() -> None:
    root = ElementTree.fromstring(bars({"a<b": 0.75, "c": 0.25}))
    assert [text.text for text in root.findall("text")] == ["a<b", "75 %", "c", "25 %"]


def test_the_page_escapes_what_recipes_and_errors_say(tiny: Recipe, tmp_path: Path) -> None:
    html = page(Tuning(tmp_path, Request(tiny, tmp_path / "x.py")), TRIALS, RESULTS)
    assert "<i>no memory" not in html
    assert "<b>&" not in html
    assert "&lt;i&gt;no memory" in html
    for heading in ("Trials over their settings", "What matters", "Learning curves", "Failures"):
        assert f"<h2>{heading}</h2>" in html
    assert len(re.findall("<tr", html)) == len(TRIALS) + 1


def test_the_verdict_is_as_sure_as_its_interval() -> None:
    said = lines(RESULTS, Path("here"))
    assert said[0] == (
        "winner: trial 3 of 32, validation accuracy 0.900; choosing the best of so many flatters"
        " that by about 2.1 points"
    )
    assert said[2].endswith("no better, as far as these images can tell")
    better = lines({**RESULTS, "gain": (0.05, 0.01, 0.09)}, Path("here"))[2]
    assert better.endswith("+5.0 points (95 % interval +1.0 to +9.0)")
    assert lines({**RESULTS, "gain": (-0.05, -0.09, -0.01)}, Path("x"))[2].endswith("it is worse")
    none = lines({**RESULTS, "winner": 0}, Path("here"))
    assert none[2] == "no trial did better than the recipe as written"
    assert lines({"trials": 3, "winner": None}, Path("here"))[0].startswith("none of 3 trials")


def test_a_row_says_what_came_of_a_trial() -> None:
    assert row(TRIALS[0]) == "    0     0.700   0.600      0.0  nothing: the recipe as written"
    assert (
        row(TRIALS[30]) == "   30    failed                   head.dropout 0.1 (<i>no memory</i>)"
    )
    assert row(TRIALS[32]).endswith("head.dropout 0.2 (stopped after epoch 1: others did better)")
    table = to_csv(TRIALS).splitlines()
    assert len(table) == 34
    assert table[0].startswith("trial,status,validation_accuracy")


def test_the_median_rule_needs_some_completed_trials() -> None:
    completed = [(0.5, 0.7)] * LEAST_TRIALS
    assert not is_hopeless([0.1], completed[1:], 4)
    assert is_hopeless([0.49], completed, 4)
    assert not is_hopeless([0.5], completed, 4)
    assert is_hopeless([0.5, 0.59], completed, 4)  # 0.6 is the mean of two epochs
    assert not is_hopeless([0.6, 0.1], completed, 4)  # its best counts


def test_no_trial_is_hopeless_in_the_first_quarter_of_its_epochs() -> None:
    completed = [[0.5, 0.7]] * LEAST_TRIALS
    assert not is_hopeless([0.1, 0.1], completed, 9)
    assert is_hopeless([0.1, 0.1], completed, 8)


def test_a_chief_without_workers_of_its_own_says_its_trials(tiny: Recipe, tmp_path: Path) -> None:
    table = Table(Request(tiny, tmp_path / "x.py", workers=0), None)
    for trial in TRIALS[:3]:
        table.told(trial)
    table.close()
    assert table._left().endswith(" left")
