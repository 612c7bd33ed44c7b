"""A budget of minutes: what is reckoned, what is chosen, and one real run within it."""

from __future__ import annotations

import csv
import logging
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app import Data, Recipe, Stage, commands, settings, verbs
from app.budget import planning
from app.budget.choosing import choose, plannable, shallower
from app.budget.costs import Costs, Counts, Depth, count, predict
from app.budget.measuring import measure
from app.budget.request import planned_before, read_minutes
from app.data.index import build_index
from app.data.sources import list_images
from app.errors import RecipeError, RunError
from app.features.walking import views_kept
from app.recipe import from_json, override
from app.recipe_file import RecipeFile
from app.run_directory import Run, new_run

IMAGES = Counts(510, 90, 150)
DEPTHS = {
    "head": Depth(0.0, 1.0, 0.0001, 2568),
    "top:5": Depth(0.25, 2.0, 0.002, 6408),
    "top:10": Depth(0.5, 4.0, 0.004, 4808),
    "all": Depth(1.0, 8.0, 0.014, 0),
}
MEASURED = Costs(
    image_size=224,
    looking=0.005,
    building=1.0,
    reading=0.006,
    varying=0.0005,
    folding=1.5,
    inference=0.004,
    writing=0.05,
    depths=DEPTHS,
    cache_bytes=10**10,
    memory_bytes=1 << 30,
)
LAST = Stage(epochs=8, unfreeze="all", optimizer="adamw", schedule="cosine")
RECIPE = Recipe(name="two", stages={"warm_up": Stage(epochs=4), "fine_tune": LAST})


def drawn(seed: int) -> tuple[Recipe, Counts, Costs]:
    """Draws a recipe, how many images it has, and what everything takes."""
    draw = random.Random(seed)
    factor = {
        name: 10 ** draw.uniform(-1, 1)
        for name in ("looking", "building", "reading", "varying", "folding", "inference", "writing")
    }
    measured = replace(MEASURED, **{n: getattr(MEASURED, n) * f for n, f in factor.items()})
    measured = replace(measured, cache_bytes=draw.choice([0, 3 * 10**6, 10**10]))
    images = Counts(draw.randint(20, 20_000), draw.randint(5, 3000), draw.randint(5, 3000))
    stages = dict(RECIPE.stages)
    stages["fine_tune"] = replace(
        LAST,
        epochs=draw.randint(1, 60),
        unfreeze=draw.choice(list(DEPTHS)),
        views=draw.choice(["auto", 0, 1, 3]),
        learning_rate=draw.choice(["auto", 1e-3]),
    )
    if draw.random() < 0.3:
        del stages["warm_up"]
    return replace(RECIPE, stages=stages), images, measured


@pytest.mark.parametrize("seed", range(8))
def test_a_plan_never_takes_more_than_there_is_and_more_time_never_leads_to_a_weaker_one(
    seed: int,
) -> None:
    recipe, images, measured = drawn(seed)
    least = choose(recipe, (), 32, images, measured, 0.0)
    whole = choose(recipe, (), 32, images, measured, 1e12)
    assert (whole.recipe, whole.loss) == (recipe, 0.0)
    weaker = float("inf")
    for share in (0.0, 0.05, 0.3, 0.9):
        seconds = least.seconds + share * (whole.seconds - least.seconds) + 1e-6
        plan = choose(recipe, (), 32, images, measured, seconds)
        assert plan.seconds <= seconds
        assert plan.seconds == sum(predict(plan.recipe, images, measured).values())
        assert plan.loss <= weaker
        weaker = plan.loss


@pytest.mark.parametrize("seed", range(7))
def test_a_plan_changes_nothing_that_was_given_and_nothing_else_than_it_may(seed: int) -> None:
    recipe, images, measured = drawn(seed)
    paths = sorted(plannable(recipe))
    fixed = set(random.Random(seed).sample(paths, seed % (len(paths) + 1)))
    before = settings.leaves(recipe)
    for seconds in (0.0, 60.0, 1000.0):
        plan = choose(recipe, fixed, 32, images, measured, seconds)
        after = settings.leaves(plan.recipe)
        changed = {path for path in before if before[path].value != after[path].value}
        assert changed <= set(paths) - fixed
        override(plan.recipe, {})  # raises if it is no recipe that could be run


def test_a_plan_never_goes_beyond_the_recipe() -> None:
    for seconds in (0.0, 30.0, 60.0, 1e6):
        changed = choose(RECIPE, (), 100, IMAGES, MEASURED, seconds).recipe
        assert 112 <= (changed.data.image_size or 224) <= 224
        assert changed.stages["warm_up"].epochs <= 4
        assert changed.stages["fine_tune"].epochs <= 8
        assert changed.stages["warm_up"].unfreeze == "head"


def test_images_are_never_smaller_than_the_backbone_takes() -> None:
    sizes = {
        choose(RECIPE, (), least, IMAGES, MEASURED, 0.0).recipe.data.image_size
        for least in (32, 150, 200, 224)
    }
    assert sizes == {128, 160, None}


def test_a_recipe_with_a_head_alone_stays_one() -> None:
    recipe = replace(RECIPE, stages={"train": Stage(epochs=10)})
    for seconds in (0.0, 8.0, 9.0, 1e6):
        plan = choose(recipe, (), 32, IMAGES, MEASURED, seconds)
        assert plan.recipe.stages["train"].unfreeze == "head"


def test_depth_is_given_up_before_size_and_comes_back_with_time() -> None:
    """What is lost by it was measured: see docs/budget.md."""
    least = choose(RECIPE, (), 32, IMAGES, MEASURED, 0.0).seconds
    whole = sum(predict(RECIPE, IMAGES, MEASURED).values())
    depths = [
        choose(RECIPE, (), 32, IMAGES, MEASURED, least + (whole - least) * share / 8)
        for share in range(9)
    ]
    shares = [DEPTHS[plan.recipe.stages["fine_tune"].unfreeze].share for plan in depths]
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert 0.5 in shares


def test_shallower_depths_are_a_half_and_a_quarter() -> None:
    assert shallower("all", 19) == ["head", "top:5", "top:10"]
    assert shallower("top:3", 3) == ["head", "top:1", "top:2"]
    assert shallower("head", 0) == ["head"]
    assert shallower("block_2..block_4", 3) == ["head"]


def test_what_is_predicted_is_what_the_parts_add_up_to() -> None:
    """Worked out by hand for the head, then half of the blocks in two views, at half the size."""
    recipe = override(RECIPE, {"fine_tune.unfreeze": "top:10", "data.image_size": 112})
    scale = 0.25 + 0.75 / 4
    row = 0.006 + 0.004 * scale
    expected = {
        "start": 750 * 0.005 + 1.0,
        "features": 600 * row * 2 + 510 * (row + 0.0005 * scale),
        "warm_up": 1.5 + 1.0 + 4 * (0.05 + 0.05 + 555 * 0.0001 * scale),
        "fine_tune": 1.5 + 4.0 + 8 * (0.05 + 0.05 * 2 + 555 * 0.004 * scale),
        "measuring": 4 * 0.05 + 1.5 + 240 * row,
    }
    assert predict(recipe, IMAGES, MEASURED) == pytest.approx(expected)


def test_without_room_in_the_cache_images_go_through_the_whole_network_each_epoch() -> None:
    recipe = override(RECIPE, {"fine_tune.unfreeze": "top:10"})
    with_room = predict(recipe, IMAGES, MEASURED)
    without = predict(recipe, IMAGES, replace(MEASURED, cache_bytes=10**6))
    assert without["features"] == 0.0
    more = 8 * 555 * (0.0005 + 3 * 0.004)
    assert without["fine_tune"] - with_room["fine_tune"] == pytest.approx(more)
    assert without["warm_up"] > with_room["warm_up"] + 600 * 0.006


def test_what_does_not_fit_in_memory_is_read_each_epoch() -> None:
    one, other = (
        predict(RECIPE, IMAGES, replace(MEASURED, memory_bytes=room))["fine_tune"]
        for room in (1 << 30, 100 * 224 * 224 * 3)
    )
    assert other - one == pytest.approx(8 * 500 * 0.006)


def test_splits_are_counted_as_images_are_divided(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "train").symlink_to(photos)
    (tmp_path / "val").symlink_to(photos)
    for source in (photos, tmp_path):
        listing = list_images(str(source))
        counted = count((file.split for file in listing.files), Data())
        index = build_index(listing, 0.15, 0.15, 0)
        for name in ("train", "validation", "test"):
            assert abs(getattr(counted, name) - len(index.split(name))) <= 2


def test_published_splits_are_kept() -> None:
    splits = ["train"] * 70 + ["validation"] * 20 + ["test"] * 10
    assert count(splits, Data()) == Counts(70, 20, 10)
    assert count(["train"] * 80 + ["test"] * 20, Data(validation_fraction=0.25)) == Counts(
        60, 20, 20
    )


@pytest.mark.parametrize("text", ["", "ten", "0", "-3", "nan", "inf", "1e9"])
def test_what_is_no_number_of_minutes_is_told_before_anything_loads(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "load", None)
    with pytest.raises(RecipeError, match=r"--minutes is .*: it must be a number above 0"):
        commands.train(RecipeFile(Path("x.py"), RECIPE), {}, minutes=text)
    assert read_minutes("2.5") == 2.5


def test_a_run_of_its_own_cannot_be_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "load", None)
    file = RecipeFile(Path("x.py"), RECIPE, lambda recipe, place: None)
    with pytest.raises(RecipeError, match=r"x.py has a `run` of its own"):
        commands.train(file, {}, minutes="10")


def test_a_begun_run_keeps_its_plan(tmp_path: Path) -> None:
    plan = choose(RECIPE, (), 32, IMAGES, MEASURED, 0.0).recipe
    assert plan != RECIPE
    assert planned_before(RECIPE, tmp_path / "none") is None
    assert planned_before(RECIPE, None) is None
    new_run(plan, tmp_path / "run")
    assert planned_before(RECIPE, tmp_path / "run") == plan
    for other in (replace(RECIPE, seed=1), replace(RECIPE, stages={"one": Stage()})):
        with pytest.raises(RunError, match="is a run of another recipe"):
            planned_before(other, tmp_path / "run")


@pytest.fixture(scope="module")
def measured(tiny: Recipe) -> Costs:
    return measure(tiny, list_images(tiny.data.source), False, 600.0)


def test_every_part_is_measured(measured: Costs) -> None:
    for name in ("looking", "building", "reading", "varying", "folding", "inference", "writing"):
        assert 0 < getattr(measured, name) < 600, name
    assert list(measured.depths) == ["head", "top:1", "top:2"]
    assert [round(depth.share * 10) for depth in measured.depths.values()] == [0, 1, 2]
    for depth in measured.depths.values():
        assert 0 < depth.step < 60
        assert 0 <= depth.begin < 600
        assert depth.row_bytes > 0


def test_views_are_counted_as_stages_have_them(tiny: Recipe, measured: Costs) -> None:
    from app.features.cutting import cut
    from app.models import unfreeze
    from app.preparation import prepare

    prepared = prepare(override(tiny, {"preset": "medium"}))
    for stage in (
        Stage(),
        Stage(unfreeze="top:2"),
        Stage(epochs=1, unfreeze="top:2"),
        Stage(views=3),
    ):
        unfreeze(prepared.model, prepared.backbone, stage.unfreeze)
        boundary = prepared._boundary(cut(prepared.model))
        assert views_kept(stage, measured.varies) == boundary.views(stage)
    assert views_kept(Stage(unfreeze="top:2"), varies=False) == 1


def test_a_run_within_minutes_is_the_run_of_its_plan(
    tiny: Recipe,
    finished: Run,
    measured: Costs,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Measuring before it changes no bit: with time for all of it, it is the run without."""
    caplog.set_level(logging.INFO, "graft")
    within = planning.run_within(tiny, (), 30.0, tmp_path / "run", time.monotonic())
    assert from_json((tmp_path / "run" / "recipe.json").read_text()) == tiny
    assert "the recipe fits into 30 minutes as it is" in caplog.text
    assert "predicted: " in caplog.text
    assert " of 30 minutes; " in caplog.text
    assert within.metrics == finished.metrics
    assert losses(within) == losses(finished)


def losses(of: Run) -> list[list[str]]:
    with of.history.open(newline="") as file:
        return [[row["loss"], row["validation_loss"]] for row in csv.DictReader(file)]


def test_a_plan_is_printed_like_any_other_change(
    tiny: Recipe,
    measured: Costs,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, "graft")
    monkeypatch.setattr(planning, "measure", lambda *_: measured)
    long = override(tiny, {"fine_tune.epochs": 10**5})
    plan = planning.plan_within(long, {"stages.fine_tune.unfreeze"}, 2.0, time.monotonic())
    epochs = plan.recipe.stages["fine_tune"].epochs
    assert 0 < epochs < 10**5
    assert plan.recipe.stages["fine_tune"].unfreeze == "top:2"
    assert f"stages.fine_tune.epochs: 100000 -> {epochs}" in caplog.text
    assert plan.seconds <= planning.SHARE * 120
    assert next(iter(plan.parts)) == "planning"


def test_too_few_minutes_are_told_with_how_many_are_needed(
    tiny: Recipe, measured: Costs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "measure", lambda *_: measured)
    with pytest.raises(RecipeError, match=r"--minutes 0.001 is too few: .* needs") as told:
        planning.plan_within(tiny, (), 0.001, time.monotonic())
    needed = float(str(told.value).split("--minutes ")[2].split(";")[0])
    assert planning.plan_within(tiny, (), needed + 0.1, time.monotonic()).seconds > 0
