"""What is searched: genuine Keras Tuner hyperparameters, each named after a setting."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keras_tuner import HyperParameters
from keras_tuner.engine import hyperparameters as kinds

from app import settings
from app.errors import RecipeError
from app.kinds import Leaf
from app.recipe import Recipe, override
from app.tuning.default_space import default_search

Search = Callable[[HyperParameters], Any]
Values = Mapping[str, Leaf]
# They say on which images trials are compared, and how they are called.
_COMMON = ("name", "seed", "data.source", "data.validation_fraction", "data.test_fraction")
# Digits that count of a number that is drawn from a range: more of them mean nothing.
DIGITS = 4
# How often branches of a `search` are walked into, each time with what the last brought to light.
_DEPTH = 10


@dataclass(frozen=True)
class Space:
    """All that can be proposed.

    Attributes:
        recipe: As written.
        search: The recipe's own `search`, or the default one.
        hyperparameters: All that it asks for, in any of its branches.
    """

    recipe: Recipe
    search: Search
    hyperparameters: HyperParameters

    def changes(self, values: Values) -> dict[str, Leaf]:
        """Turns what an oracle proposes into settings by their full paths.

        Only what `search` asks for when it sees these values counts; what lies in branches that
        it does not take is left out.

        Raises:
            RecipeError: If a value is none that its setting takes.
        """
        asked = _asked(self.search, values)
        active = [each.name for each in asked.space if asked.is_active(each)]
        return {
            path: leaf
            for name in dict.fromkeys(active)
            for path, leaf in _leaves(self.recipe, name, _neat(asked, name, values))
        }

    def recipe_of(self, values: Values) -> Recipe:
        """Returns the recipe with proposed values.

        Raises:
            RecipeError: If they do not go together.
        """
        return override(self.recipe, self.changes(values))

    def lines(self) -> list[str]:
        """Says what is searched, a line each."""
        return [_line(each) for each in self.hyperparameters.space]

    @property
    def config(self) -> list[Any]:
        """What JSON can hold of it: equal for equal spaces."""
        return [[type(each).__name__, each.get_config()] for each in self.hyperparameters.space]

    @property
    def digest(self) -> str:
        """What a search is of, hashed: equal on all machines that may take part in it.

        Images may lie in another folder there; that they are the same is another question.
        """
        recipe = override(self.recipe, {"data.source": ""})
        of = [settings.to_json(recipe), json.dumps(self.config)]
        return hashlib.sha256("\n".join(of).encode()).hexdigest()[:16]


def build_space(recipe: Recipe, search: Search | None, where: object, algorithm: str) -> Space:
    """Asks `search` for all hyperparameters, and makes sure that each is a setting.

    Args:
        recipe: As written.
        search: Of the recipe file; None for the default one.
        where: The file, for messages.
        algorithm: Hyperband sets the number of epochs itself.

    Raises:
        RecipeError: If `search` fails, asks for what is no setting or for values that a setting
            does not take, or if nothing varies.
    """
    asks = search or default_search(recipe)
    try:
        found = _explored(asks)
    except RecipeError:
        raise
    except Exception as error:  # a search is the user's program: anything may go wrong in it
        what = " ".join(str(error).split())
        raise RecipeError(f"{where}: search(hp) fails: {type(error).__name__}: {what}") from error
    space = Space(recipe, asks, found)
    for each in found.space:
        _check(space, each, algorithm)
    _check_disjoint(space)
    if not any(_varies(each) for each in found.space):
        raise RecipeError(
            f"{where}: search(hp) asks for nothing that varies: give it a range or a choice,"
            " such as hp.Float('head.dropout', 0.0, 0.5, step=0.1)"
        )
    return space


def _asked(search: Search, values: Values) -> HyperParameters:
    asked = HyperParameters()
    asked.values = dict(values)
    search(asked)
    return asked


def _explored(search: Search) -> HyperParameters:
    """Collects what `search` asks for in all its branches, not only those that come first."""
    found = _asked(search, {})
    tried: set[tuple[str, Leaf]] = set()
    for _ in range(_DEPTH):
        before = len(found.space)
        for each in list(found.space):
            for value in _alternatives(each):
                if (each.name, value) not in tried:
                    tried.add((each.name, value))
                    found.merge(_asked(search, {**found.values, each.name: value}), False)
        if len(found.space) == before:
            break
    return found


def _alternatives(of: Any) -> list[Leaf]:
    return list(of.values) if isinstance(of, kinds.Choice | kinds.Boolean) else []


def _ends(of: Any) -> list[Leaf]:
    """Returns the values that stand for all."""
    if isinstance(of, kinds.Fixed):
        return [of.value]
    return _alternatives(of) or [of.min_value, of.max_value, of.default]


def _varies(of: Any) -> bool:
    return len(set(_ends(of))) > 1


def _check(space: Space, each: Any, algorithm: str) -> None:
    paths = settings.find(space.recipe, each.name)
    common = [path for path in paths if path in _COMMON]
    if common:
        raise RecipeError(
            f"{common[0]} cannot be searched: all trials are measured on the same images;"
            " --executions trains each from several seeds"
        )
    if algorithm == "hyperband" and any(path.endswith(".epochs") for path in paths):
        raise RecipeError(
            f"{each.name} cannot be searched by hyperband, which says itself how long a trial"
            " trains: leave it out of search(hp), or take another --algorithm"
        )
    for value in _ends(each):
        list(_leaves(space.recipe, each.name, value))


def _check_disjoint(space: Space) -> None:
    """Two names may reach the same setting; but which of them counts?"""
    owner: dict[str, str] = {}
    for name in dict.fromkeys(each.name for each in space.hyperparameters.space):
        for path in settings.find(space.recipe, name):
            other = owner.setdefault(path, name)
            if other != name:
                raise RecipeError(f"{other} and {name} both search {path}: keep one of them")


def _leaves(recipe: Recipe, name: str, value: Leaf) -> Iterator[tuple[str, Leaf]]:
    """Yields the settings that a name reaches, with the value as each takes it.

    Keras Tuner has no tuples and no None: they are written as the command line writes them.
    """
    known = settings.leaves(recipe)
    for path in settings.find(recipe, name):
        leaf = known[path]
        yield path, leaf.read(value) if isinstance(value, str) else leaf.accept(value)


def _neat(asked: HyperParameters, name: str, values: Values) -> Leaf:
    """Rounds what was drawn from a range, without leaving it."""
    value: Leaf = asked.values[name] if name not in values else values[name]
    (of, *_) = [each for each in asked.space if each.name == name and asked.is_active(each)]
    if not isinstance(of, kinds.Float) or isinstance(value, str) or value is None:
        return value
    rounded = float(f"{value:.{DIGITS}g}")
    return float(min(max(rounded, of.min_value), of.max_value))


def _line(each: Any) -> str:
    conditions = "".join(
        f", if {of.name} is {' or '.join(map(str, of.values))}" for of in each.conditions
    )
    if isinstance(each, kinds.Fixed) or not _varies(each):
        return f"{each.name}: {_ends(each)[0]}{conditions}"
    if isinstance(each, kinds.Choice | kinds.Boolean):
        return f"{each.name}: {', '.join(map(str, _alternatives(each)))}{conditions}"
    way = f" in steps of {each.step:g}" if each.step else ""
    scale = "" if each.sampling == "linear" else f", {each.sampling} scale"
    return f"{each.name}: {each.min_value:g} to {each.max_value:g}{way}{scale}{conditions}"
