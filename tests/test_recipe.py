from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import types
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app import Data, Head, Recipe, Stage, kinds, override, settings
from app.errors import RecipeError
from app.recipe import check, from_json

quickly = hypothesis_settings(derandomize=True, deadline=None, max_examples=60)
RECIPE = Recipe(name="flowers", stages={"warm_up": Stage(epochs=5), "fine_tune": Stage(epochs=10)})


def values(leaf: settings.Setting) -> st.SearchStrategy[Any]:
    """Anything that a setting takes."""
    special = {
        "name": st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,9}\Z"),
        "validation_fraction": st.floats(0.01, 0.49),
        "test_fraction": st.floats(0.01, 0.49),
        "unfreeze": st.sampled_from(["head", "all", "0.3", "1", "top:1", "top:12", "block_3"]),
        # What excludes one another is tried by tests of its own.
        "clip_value": st.none(),
        "clip_norm": st.none(),
        "funnel": st.just(0),
        "residual": st.just(False),
        "loss": st.sampled_from(["cross_entropy", "sigmoid_cross_entropy", "focal"]),
        "jit_compile": st.sampled_from([None, False]),
    }
    return special.get(leaf.path.split(".")[-1], of_kind(leaf.kind, leaf.limits))


def of_kind(kind: Any, limits: Any) -> st.SearchStrategy[Any]:
    if kind == kinds.Length:
        return st.floats(*limits) | st.sampled_from(["0%", "2.5%", "100%"])
    if get_origin(kind) in (Union, types.UnionType):
        return st.one_of(*(of_kind(each, limits) for each in get_args(kind)))
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is tuple:
        return st.lists(of_kind(get_args(kind)[0], limits), max_size=4).map(tuple)
    if kind in (int, float):
        assert limits is not None, "every number has limits"
        whole = st.integers(int(limits[0]), int(limits[1]))
        return whole if kind is int else st.floats(*limits)
    return {bool: st.booleans(), str: st.text(), type(None): st.none()}[kind]


STAGE_NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_]{0,9}\Z")


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    names = draw(st.lists(STAGE_NAMES, min_size=1, max_size=3, unique=True))
    plain = Recipe(name="plain", stages={name: Stage() for name in names})
    changes = {path: values(leaf) for path, leaf in settings.leaves(plain).items()}
    return override(plain, draw(st.fixed_dictionaries(changes)))


@quickly
@given(recipes())
def test_every_recipe_survives_json(recipe: Recipe) -> None:
    back = from_json(settings.to_json(recipe))
    assert (back, list(back.stages)) == (recipe, list(recipe.stages))


@quickly
@given(recipes())
def test_every_recipe_survives_the_command_line(recipe: Recipe) -> None:
    texts = {path: kinds.to_text(leaf.value) for path, leaf in settings.leaves(recipe).items()}
    plain = Recipe(name="plain", stages={name: Stage() for name in recipe.stages})
    assert override(plain, settings.parse(plain, texts)) == recipe


@quickly
@given(recipes())
def test_every_recipe_survives_pickling_copying_and_hashing(recipe: Recipe) -> None:
    for same in (
        pickle.loads(pickle.dumps(recipe)),
        copy.copy(recipe),
        copy.deepcopy(recipe),
        dataclasses.replace(recipe),
    ):
        assert same == recipe
        assert hash(same) == hash(recipe)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
    max_leaves=5,
)
PLACES = [(), ("stages",), ("stages", "warm_up"), ("data",), ("head", "units"), ("backbone",)]
PLACES += [tuple(path.split(".")) for path in settings.leaves(RECIPE)]


@quickly
@given(st.sampled_from(PLACES), JSON)
def test_a_spoiled_recipe_in_json_is_refused_or_still_makes_sense(
    place: tuple[str, ...], spoiled: Any
) -> None:
    plain = json.loads(settings.to_json(RECIPE))
    part = plain
    for key in place[:-1]:
        part = part[key]
    if place:
        part[place[-1]] = spoiled
    try:
        recipe = from_json(json.dumps(plain if place else spoiled))
    except RecipeError:
        return
    check(recipe)


def test_the_stages_of_a_recipe_cannot_be_changed() -> None:
    given = {"train": Stage()}
    recipe = Recipe(name="a", stages=given)
    given["more"] = Stage()
    assert list(recipe.stages) == ["train"]
    with pytest.raises(TypeError):
        recipe.stages["more"] = Stage()  # type: ignore[index]  # that is the point
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.stages = given


def test_the_order_of_stages_is_part_of_a_recipe() -> None:
    turned = Recipe(name="flowers", stages=dict(list(RECIPE.stages.items())[::-1]))
    assert turned != RECIPE
    assert RECIPE.stages == {"warm_up": Stage(epochs=5), "fine_tune": Stage(epochs=10)}
    assert list(override(turned, {"epochs": 3}).stages) == ["fine_tune", "warm_up"]


def test_a_recipe_prints_as_the_python_that_makes_it() -> None:
    assert eval(repr(RECIPE), vars(__import__("app.recipe").recipe)) == RECIPE


def test_every_setting_of_a_recipe_says_what_it_means() -> None:
    silent = [path for path, leaf in settings.leaves(RECIPE).items() if not leaf.about]
    assert silent == []


def test_defaults_make_sense() -> None:
    check(Recipe(name="plain"))


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"name": "../up"}, "name is '../up'"),
        ({"name": ""}, "name is ''"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "no image for training"),
        ({"fine_tune.unfreeze": "top:0"}, "stages.fine_tune.unfreeze is 'top:0': write top:<n"),
        ({"fine_tune.unfreeze": "top:"}, "stages.fine_tune.unfreeze is 'top:': write top:<n"),
        ({"fine_tune.unfreeze": "1.5"}, "stages.fine_tune.unfreeze is '1.5': a share"),
        ({"fine_tune.unfreeze": "-0.5"}, "stages.fine_tune.unfreeze is '-0.5': a share"),
        ({"fine_tune.unfreeze": "0.5x\n"}, "stages.fine_tune.unfreeze is '0.5x\\n': a share"),
        ({"epochs": 0}, "stages.warm_up.epochs is 0: it must be a whole number from 1 to 100000"),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(changes: dict[str, Any], answer: str) -> None:
    with pytest.raises(RecipeError) as error:
        override(RECIPE, changes)
    assert answer in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("recipe", "answer"),
    [
        (Recipe(name=5), "name is 5: it must be a text"),
        (Recipe(name="a", stages={}), "a has no stage: give it at least one"),
        (Recipe(name="a", stages=[Stage()]), "stages is [Stage(epochs="),
        (Recipe(name="a", stages=None), "stages is None"),
        (Recipe(name="a", stages={"b": 3}), "stages.b is 3: it must be Stage(...)"),
        (Recipe(name="a", stages={"b": Head()}), "stages.b is Head(features"),
        (Recipe(name="a", stages={3: Stage()}), "stages is {3: "),
        (Recipe(name="a", stages={"b.c": Stage()}), "'b.c' names a stage: use letters"),
        (Recipe(name="a", stages={"b-c": Stage()}), "'b-c' names a stage: use letters"),
        (Recipe(name="a", data="photos"), "data is 'photos': it must be Data(...)"),
        (Recipe(name="a", head=None), "head is None: it must be Head(...)"),
        (Recipe(name="a", seed={}), "seed is {}: it must be a whole number"),
        (Recipe(name="a", head=Head(units=[256])), "head.units is [256]: it must be a tuple"),
        (Recipe(name="a", data=Data(batch_size="32")), "data.batch_size is '32': it must be a"),
        (Recipe(name="a", stages={"b": Stage(epochs="ten")}), "stages.b.epochs is 'ten': it"),
    ],
)  # type: ignore[arg-type]  # that is the point
def test_a_recipe_of_wrong_types_is_refused_by_path(recipe: Recipe, answer: str) -> None:
    with pytest.raises(RecipeError) as error:
        check(recipe)
    assert answer in str(error.value)


def test_an_unknown_setting_is_answered_with_the_likeliest_one() -> None:
    with pytest.raises(RecipeError) as error:
        override(RECIPE, {"epoks": 3})
    assert str(error.value) == "flowers has no setting 'epoks'. Did you mean 'epochs'?"


def test_a_change_is_said_by_its_full_path() -> None:
    after = override(RECIPE, {"fine_tune.epochs": 3})
    assert settings.differences(RECIPE, after) == ["stages.fine_tune.epochs: 10 -> 3"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clip_norm": 1.0, "global_clip_norm": 1.0}, "clip_norm and global_clip_norm: keep one"),
        ({"head.units": (8,), "head.funnel": 1}, "both set the hidden layers"),
        ({"head.residual": True}, "there is no hidden layer"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "means nothing to the hinge loss"),
        ({"loss": "hinge", "mixup": 0.2}, "one class an image"),
        ({"jit_compile": True}, "--deterministic false"),
        ({"unfreeze": "block_3.."}, "<first block>..<last block>"),
        ({"warmup_epochs": "110%"}, "a share of the stage such as 25%"),
        ({"warmup_epochs": "fast"}, "a share of the stage such as 25%"),
        ({"warmup_epochs": -1.0}, "from 0 to 100000"),
        ({"learning_rate": "automatic"}, "a number from 0 to 1000, or auto"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    changes: dict[str, kinds.Leaf], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        override(RECIPE, changes)


def test_a_length_is_read_as_epochs_or_as_a_share() -> None:
    for text, value in (("2", 2.0), ("0.5", 0.5), ("25%", "25%")):
        changes = settings.parse(RECIPE, {"fine_tune.warmup_epochs": text})
        assert override(RECIPE, changes).stages["fine_tune"].warmup_epochs == value


def test_the_embedded_backbone_is_compact_with_what_graft_ships() -> None:
    recipe = override(Recipe(name="a"), {"backbone": "embedded"})
    assert (recipe.backbone, recipe.weights) == ("compact", "embedded")
    drawn = override(Recipe(name="a"), {"backbone": "embedded", "weights": "none"})
    assert (drawn.backbone, drawn.weights) == ("compact", "none")
