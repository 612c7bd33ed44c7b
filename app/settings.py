"""The settings of a frozen value: found by dotted path, changed, read and written.

Works on any tree of dataclasses and mappings of them; `app.recipe` has the tree
that graft knows. Standard library only.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from app import kinds
from app.errors import RecipeError
from app.kinds import Leaf, Limits

Tree = TypeVar("Tree")


@dataclass(frozen=True)
class Setting:
    """One leaf of a tree.

    Attributes:
        path: Dotted path, such as `stages.fine_tune.epochs`.
        value: What it is now.
        kind: Its declared type.
        about: One line from the docstring of the part it belongs to.
        limits: Least and greatest number that make sense, or None.
    """

    path: str
    value: Leaf
    kind: Any
    about: str
    limits: Limits

    def accept(self, value: Leaf) -> Leaf:
        """Returns a value in the declared type: a whole number may stand for a float.

        Raises:
            RecipeError: If it has another type, or lies outside of the limits.
        """
        if not kinds.fits(self.kind, value) or not kinds.within(self.limits, value):
            raise RecipeError(f"{self.path} is {kinds.quote(value)}: it must be {self.takes}")
        return kinds.settle(self.kind, value)

    def read(self, text: str) -> Leaf:
        """Returns the value that a text of the command line stands for.

        Raises:
            RecipeError: If it is no value of the declared type.
        """
        try:
            value = kinds.from_text(self.kind, text)
        except ValueError:
            raise RecipeError(f"{self.path} is {text!r}: it must be {self.takes}") from None
        return self.accept(value)

    @property
    def takes(self) -> str:
        """What it can be, in words: `a whole number from 1 to 65536`."""
        return kinds.describe(self.kind, self.limits)


def leaves(tree: Any) -> dict[str, Setting]:
    """Lists every leaf of a tree by its dotted path, in the order of declaration.

    Raises:
        RecipeError: If a part is not of the class that is declared in its place.
    """
    return {leaf.path: leaf for leaf in _walk(type(tree), tree, "")}


def _walk(kind: Any, part: Any, path: str) -> Iterator[Setting]:
    _check_part(kind, part, path)
    prefix = f"{path}." if path else ""
    if get_origin(kind) is Mapping:
        for key, item in part.items():
            yield from _walk(get_args(kind)[1], item, prefix + key)
        return
    for name, (declared, about, limits) in _fields(part.__class__).items():
        value = getattr(part, name)
        if _has_parts(declared):
            yield from _walk(declared, value, prefix + name)
        else:
            yield Setting(prefix + name, value, declared, about, limits)


def _has_parts(kind: Any) -> bool:
    return get_origin(kind) is Mapping or dataclasses.is_dataclass(kind)


def _check_part(kind: Any, part: Any, path: str) -> None:
    """Nothing but a leaf has a value of its own; all else must be what was declared."""
    if get_origin(kind) is Mapping:
        name = get_args(kind)[1].__name__
        if not isinstance(part, Mapping) or not all(isinstance(key, str) for key in part):
            raise RecipeError(
                f'{path} is {kinds.quote(part)}: it must be {{"<name>": {name}(...), ...}}'
            )
    elif not isinstance(part, kind):
        raise RecipeError(f"{path} is {kinds.quote(part)}: it must be {kind.__name__}(...)")


@cache
def _fields(part: type) -> dict[str, tuple[Any, str, Limits]]:
    """Returns the declared type, the meaning and the limits of each field of a dataclass."""
    types, about = get_type_hints(part), _attributes(part.__doc__ or "")
    return {
        each.name: (types[each.name], about.get(each.name, ""), each.metadata.get("limits"))
        for each in dataclasses.fields(part)
    }


def _attributes(docstring: str) -> dict[str, str]:
    """Reads what a dataclass's docstring says of each of its fields."""
    section = cleandoc(docstring).partition("Attributes:\n")[2]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def override(tree: Tree, changes: Mapping[str, Leaf]) -> Tree:
    """Returns the tree with some of its settings changed.

    Args:
        tree: Stays as it is.
        changes: By name: a dotted suffix (`fine_tune.epochs`) reaches one leaf,
            a bare name (`epochs`) every leaf of that name. Later ones win.

    Raises:
        RecipeError: If a name is unknown, or a value has the wrong type or range.
    """
    known = leaves(tree)
    values = {
        path: known[path].accept(value)
        for name, value in changes.items()
        for path in find(tree, name)
    }
    changed: Tree = _rebuild(tree, "", values)
    return changed


def _rebuild(part: Any, path: str, values: Mapping[str, Leaf]) -> Any:
    prefix = f"{path}." if path else ""
    if isinstance(part, Mapping):
        return {key: _rebuild(item, prefix + key, values) for key, item in part.items()}
    if not dataclasses.is_dataclass(part):
        return values.get(path, part)
    names = [each.name for each in dataclasses.fields(part)]
    parts = {name: _rebuild(getattr(part, name), prefix + name, values) for name in names}
    return dataclasses.replace(part, **parts)  # type: ignore[type-var]  # an instance, not a class


def parse(tree: Any, arguments: Mapping[str, str]) -> dict[str, Leaf]:
    """Turns texts of a command line into values of the declared types, by full path.

    Raises:
        RecipeError: If a name is unknown, or a text is no value of its type.
    """
    known = leaves(tree)
    return {
        path: known[path].read(text)
        for name, text in arguments.items()
        for path in find(tree, name)
    }


def find(tree: Any, name: str) -> list[str]:
    """Returns the paths that a name reaches.

    Raises:
        RecipeError: If it reaches none, or if a dotted name reaches several.
    """
    paths = list(leaves(tree))
    if name in paths:
        return [name]
    found = [path for path in paths if path.endswith("." + name)]
    if not found:
        owner = getattr(tree, "name", type(tree).__name__)
        raise RecipeError(f"{owner} has no setting {name!r}.{_suggestion(name, paths)}")
    if "." in name and len(found) > 1:
        raise RecipeError(f"'{name}' is ambiguous: it could be {' or '.join(found)}")
    return found


def _suggestion(name: str, paths: Sequence[str]) -> str:
    from difflib import get_close_matches  # only a mistake pays for it

    inside = [path for path in paths if f".{name}." in f".{path}"]
    if inside:
        return f" It is a group: did you mean '{inside[0]}'?"
    suffixes = {
        ".".join(parts[start:])
        for parts in (path.split(".") for path in paths)
        for start in range(len(parts))
    }
    close = get_close_matches(name, sorted(suffixes), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else " `graft show` lists them."


def differences(before: Any, after: Any) -> list[str]:
    """Says each change in a line, such as `stages.fine_tune.epochs: 10 -> 3`."""
    old, new = leaves(before), leaves(after)
    return [
        f"{path}: {show(old[path].value)} -> {show(leaf.value)}"
        for path, leaf in new.items()
        if path in old and old[path].value != leaf.value
    ]


def show(value: Leaf) -> str:
    """Writes a value the way a person types it: as the command line reads it, '' if empty."""
    return kinds.to_text(value) or "''"


def to_json(tree: Any) -> str:
    """Writes a tree as JSON, indented; `from_json` reads it back equal."""
    return json.dumps(_plain(tree), indent=2) + "\n"


def _plain(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {key: _plain(value) for key, value in part.items()}
    if dataclasses.is_dataclass(part):
        return {each.name: _plain(getattr(part, each.name)) for each in dataclasses.fields(part)}
    return part


def from_json(kind: type[Tree], text: str) -> Tree:
    """Reads a tree of this class that `to_json` wrote; its leaves are taken as they come.

    Raises:
        RecipeError: If it is no JSON, or has an unknown setting or lacks one.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"this is no JSON: {error}") from error
    tree: Tree = _from_plain(kind, plain, "")
    return tree


def _from_plain(kind: Any, plain: Any, path: str) -> Any:
    if not _has_parts(kind):
        return tuple(plain) if isinstance(plain, list) else plain
    where, prefix = path or "it", f"{path}." if path else ""
    if not isinstance(plain, dict):
        raise RecipeError(f"{where} is {kinds.quote(plain)}: it must be {{...}}")
    if get_origin(kind) is Mapping:
        item = get_args(kind)[1]
        return {key: _from_plain(item, value, prefix + key) for key, value in plain.items()}
    fields = _fields(kind)
    for name in plain:
        if name not in fields:
            raise RecipeError(f"{where} has no setting {name!r}.{_suggestion(name, list(fields))}")
    for each in dataclasses.fields(kind):
        required = each.default is each.default_factory is dataclasses.MISSING
        if required and each.name not in plain:
            raise RecipeError(f"{where} lacks '{each.name}'")
    return kind(**{key: _from_plain(fields[key][0], plain[key], prefix + key) for key in plain})
