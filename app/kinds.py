"""The kinds of value that a setting can have: told, checked, and read from text.

A kind is a type as a dataclass declares it: `str`, `int`, `float`, `bool`, `Literal[...]`,
`tuple[int, ...]`, several of these, or `Length`. Standard library only.
"""

from __future__ import annotations

import re
import reprlib
import types
from typing import Any, Literal, Union, get_args, get_origin

Leaf = str | int | float | bool | None | tuple[Any, ...]
Limits = tuple[float, float] | None
# Epochs, or a share of a stage such as "25%": the only text that may stand for a number.
Length = float | str
_SHARE = re.compile(r"\d+(\.\d+)?%")


def fits(kind: Any, value: Any) -> bool:
    """Says whether a value is of a kind; a whole number may stand for a float."""
    if kind == Length and isinstance(value, str):
        return bool(_SHARE.fullmatch(value)) and float(value[:-1]) <= 100
    if _is_union(kind):
        return any(fits(each, value) for each in get_args(kind))
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(fits(get_args(kind)[0], each) for each in value)
    if kind in (int, float):
        number = int if kind is int else (int, float)
        return isinstance(value, number) and not isinstance(value, bool) and value == value
    return isinstance(value, kind)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def settle(kind: Any, value: Leaf) -> Leaf:
    """Returns a value that fits; a whole number that stands for a float becomes one."""
    members = get_args(kind) if _is_union(kind) else (kind,)
    if isinstance(value, int) and not isinstance(value, bool) and float in members:
        return value if int in members else float(value)
    return value


def within(limits: Limits, value: Leaf) -> bool:
    """Says whether every number in a value lies within limits, both ends included."""
    numbers = value if isinstance(value, tuple) else (value,)
    return limits is None or all(
        limits[0] <= number <= limits[1] for number in numbers if isinstance(number, int | float)
    )


def describe(kind: Any, limits: Limits = None) -> str:
    """Says in words what a kind is: `a whole number from 8 to 4096, or none`."""
    if kind == Length:
        return f"a number of epochs{_range(limits)}, or a share of the stage such as 25%"
    if _is_union(kind):
        return ", or ".join(describe(each, limits) for each in get_args(kind))
    if get_origin(kind) is Literal:
        names = get_args(kind)
        return f"one of {', '.join(names)}" if len(names) > 1 else names[0]
    if get_origin(kind) is tuple:
        items = describe(get_args(kind)[0]).removeprefix("a ") + "s"
        return f"a tuple of {items}{_range(limits)}, with commas between, or ()"
    if kind in (int, float):
        return ("a whole number" if kind is int else "a number") + _range(limits)
    return {bool: "true or false", str: "a text"}.get(kind, "none")


def _range(limits: Limits) -> str:
    return f" from {limits[0]:.15g} to {limits[1]:.15g}" if limits else ""


def from_text(kind: Any, text: str) -> Leaf:
    """Reads a value of a kind as the command line writes it; `to_text` is the way back.

    Raises:
        ValueError: If the text is no such value.
    """
    if _is_union(kind):
        return _from_text_of_any(get_args(kind), text)
    if get_origin(kind) is tuple:
        items = text.strip().strip("()[]").split(",")
        return tuple(from_text(get_args(kind)[0], item) for item in items if item.strip())
    if kind is bool:
        if text.strip().lower() not in ("true", "false"):
            raise ValueError(text)
        return text.strip().lower() == "true"
    return kind(text) if kind in (int, float) else text


def _from_text_of_any(kinds: tuple[Any, ...], text: str) -> Leaf:
    if types.NoneType in kinds and text.strip().lower() == "none":
        return None
    for kind in kinds:
        try:
            value = from_text(kind, text)
        except ValueError:
            continue
        if fits(kind, value):
            return value
    raise ValueError(text)


def to_text(value: Leaf) -> str:
    """Writes a value the way that `from_text` reads it."""
    if isinstance(value, tuple):
        return ",".join(map(to_text, value)) or "()"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def quote(value: Any) -> str:
    """Writes anything that stands where a value should, short enough for a message."""
    return repr(value) if isinstance(value, str | int | float) else reprlib.repr(value)
