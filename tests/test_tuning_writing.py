"""The winner as code, and by how much choosing it flatters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import Augmentation, Data, Head, Recipe, Stage
from app.recipe_file import load_recipe_file
from app.tuning.inflation import inflation
from app.tuning.trials import COMPLETED, FAILED, STOPPED, Outcome, Trial, best_of
from app.tuning.writing import to_code
from tests.conftest import ROOT

TEXTS = st.text(max_size=20)


def read_back(code: str) -> Recipe:
    names: dict[str, Recipe] = {}
    exec(compile(code, "best.py", "exec", dont_inherit=True), {"__name__": "best"}, names)
    return names["recipe"]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.py")), ids=lambda p: p.stem)
def test_every_shipped_recipe_is_written_in_40_lines_and_read_back_equal(path: Path) -> None:
    if path.stem.startswith("pretrain"):
        pytest.skip("it is no recipe of training")
    recipe = load_recipe_file(path).recipe
    code = to_code(recipe, ["The best of 30 trials.", "    graft train best.py", "It is so."])
    assert read_back(code) == recipe
    lines = code.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100


@given(
    st.builds(
        Recipe,
        name=TEXTS,
        data=st.builds(Data, source=TEXTS, batch_size=st.integers(1, 99)),
        augmentation=st.builds(Augmentation, mixup=st.floats(0, 1)),
        head=st.builds(Head, units=st.lists(st.integers(1, 999), max_size=3).map(tuple)),
        stages=st.dictionaries(
            TEXTS, st.builds(Stage, learning_rate=st.floats(0, 1), unfreeze=TEXTS), min_size=1
        ),
    ),
    st.lists(TEXTS, min_size=1, max_size=3),
)
def test_any_recipe_is_read_back_equal(recipe: Recipe, about: list[str]) -> None:
    assert read_back(to_code(recipe, about)) == recipe


def test_inflation_is_that_of_a_simulation_in_which_the_truth_is_known() -> None:
    random = np.random.default_rng(0)
    found, true = [], []
    for repeat in range(40):
        truth = 0.8 + 0.02 * random.standard_normal(20)
        right = random.uniform(size=(20, 150)) < truth[:, None]
        best = right.mean(axis=1).argmax()
        true.append(right[best].mean() - truth[best])
        found.append(inflation(list(right), seed=repeat))
    assert np.mean(true) > 0.03
    assert np.mean(found) == pytest.approx(np.mean(true), abs=0.012)


def test_one_trial_alone_flatters_nothing() -> None:
    assert inflation([np.array([True, False, True])]) == 0.0


def outcome(accuracy: float, loss: float, status: str = COMPLETED) -> Outcome:
    return Outcome(status, accuracy, loss, 100)


def test_the_winner_is_the_most_accurate_and_of_equal_ones_that_of_the_lower_loss() -> None:
    trials = [
        Trial(0, outcome=outcome(0.90, 0.5)),
        Trial(1, outcome=outcome(0.91, 0.6)),
        Trial(2, outcome=outcome(0.91, 0.4)),
        Trial(3, outcome=outcome(0.91, 0.4)),
        Trial(4, outcome=outcome(0.99, 0.1, STOPPED)),
        Trial(5, outcome=Outcome(FAILED)),
    ]
    found = best_of(trials)
    assert found is not None
    assert found.number == 2
    assert best_of([trials[5]]) is None


@given(st.integers(1, 10**6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_no_loss_outweighs_an_image(images: int, one: float, other: float) -> None:
    better = Outcome(COMPLETED, 1.0, one, images).score
    worse = Outcome(COMPLETED, 1.0 - 1 / images, other, images).score
    assert better is not None
    assert worse is not None
    assert better > worse


def test_of_paused_trials_only_those_that_went_farthest_can_win() -> None:
    trials = [
        Trial(0, outcome=outcome(0.5, 1.0)),
        Trial(1, epochs=2, outcome=outcome(0.95, 0.1)),
        Trial(2, epochs=6, outcome=outcome(0.90, 0.2)),
    ]
    found = best_of(trials)
    assert found is not None
    assert found.number == 2
