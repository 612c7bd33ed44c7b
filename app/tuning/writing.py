"""A recipe written as Python. Standard library only."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from app.recipe import Augmentation, Data, Head, Recipe, Stage

_WIDTH = 100
_PARTS = (Augmentation, Data, Head, Stage)


def to_code(recipe: Recipe, about: Sequence[str]) -> str:
    """Writes the file of a recipe, which defines an equal one.

    What has its default value is left out, and as many settings as fit stand on a line.

    Args:
        recipe: What to write.
        about: Paragraphs of the docstring; the first is its first line.
    """
    first, *rest = (_wrapped(each) for each in about)
    docstring = "\n\n".join([first, *rest])
    docstring = docstring.replace("\\", "\\\\").replace('"' * 3, "'" * 3)
    used = sorted({type(part).__name__ for part in _parts_of(recipe)} | {"Recipe"})
    return "\n".join(
        [
            f'"""{docstring}' + ('\n"""' if rest else '"""'),
            "",
            f"from app import {', '.join(used)}, main",
            "",
            f"recipe = {_call(recipe, 0)}",
            "",
            'if __name__ == "__main__":',
            "    main(recipe)",
            "",
        ]
    )


def _wrapped(text: str) -> str:
    text = "".join(each if each.isprintable() else " " for each in text)  # such as of a path
    if text.startswith("    "):
        return text
    return textwrap.fill(text, _WIDTH - 3, break_long_words=False, break_on_hyphens=False)


def _parts_of(recipe: Recipe) -> list[Any]:
    direct = [getattr(recipe, name) for name in _said(recipe)]
    parts = [each for each in direct if isinstance(each, _PARTS)]
    return parts + list(recipe.stages.values())


def _said(part: Any) -> list[str]:
    """Names the fields that have another value than they have by default."""
    return [
        each.name for each in dataclasses.fields(part) if getattr(part, each.name) != _default(each)
    ]


def _default(of: dataclasses.Field[Any]) -> Any:
    if of.default_factory is not dataclasses.MISSING:
        return of.default_factory()
    return of.default


def _call(part: Any, indent: int) -> str:
    """Writes `Name(a=1, b=2)`, on one line if it fits and else on lines filled within."""
    inner = " " * (indent + 4)
    items = [f"{name}={_value(getattr(part, name), indent + 4)}" for name in _said(part)]
    line = f"{type(part).__name__}({', '.join(items)})"
    if "\n" not in line and indent + len(line) + 12 <= _WIDTH:
        return line
    return f"{type(part).__name__}(\n{_filled(items, inner)}\n{' ' * indent})"


def _filled(items: Sequence[str], inner: str) -> str:
    lines: list[str] = []
    for item in items:
        last = lines[-1] if lines else ""
        if last and "\n" not in last + item and len(last) + len(item) + 2 <= _WIDTH:
            lines[-1] = f"{last} {item},"
        else:
            lines.append(f"{inner}{item},")
    return "\n".join(lines)


def _value(value: Any, indent: int) -> str:
    if isinstance(value, _PARTS):
        return _call(value, indent)
    if isinstance(value, Mapping):
        inner = " " * (indent + 4)
        stages = [f"{_text(name)}: {_call(each, indent + 4)}," for name, each in value.items()]
        return "{\n" + "\n".join(inner + each for each in stages) + "\n" + " " * indent + "}"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    """Quotes a text, the way that formatters do if that is plain."""
    plain = value.isprintable() and not set('"\\') & set(value)
    return f'"{value}"' if plain else repr(value)
