"""Drawings of a search as SVG, to stand in a page. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from app.kinds import Leaf
from app.settings import show
from app.tuning.importance import column, varied
from app.tuning.trials import Trial

_WIDTH, _HEIGHT, _LEFT, _TOP = 960, 360, 70, 56
_LONGEST = 22  # characters of a label


def parallel_coordinates(trials: Sequence[Trial], winner: int | None) -> str:
    """Draws each trial as a line over an axis for each setting, and one for the accuracy."""
    # One that was cut by the clock has no outcome yet.
    drawn = [each for each in trials if each.changes and each.outcome.accuracy is not None]
    paths = varied(drawn)
    if len(drawn) < 2 or not paths:
        return ""
    accuracies = [each.outcome.accuracy for each in drawn]
    columns: list[list[Leaf]] = [[each.changes.get(path) for each in drawn] for path in paths]
    columns.append([*accuracies])
    heights = [column(values) for values in columns]
    step = (_WIDTH - 2 * _LEFT) / len(paths)
    span = _HEIGHT - _TOP - 40
    parts = []
    for number, name in enumerate([*paths, "validation accuracy"]):
        x = _LEFT + number * step
        said = dict(zip(heights[number].tolist(), columns[number], strict=True))
        parts.append(_axis(x, name, number, said, span))
    order = sorted(range(len(drawn)), key=lambda index: accuracies[index] or 0.0)
    for index in order:  # the best last, on top
        points = " ".join(
            f"{_LEFT + number * step:.1f},{_y(float(each[index]), span):.1f}"
            for number, each in enumerate(heights)
        )
        parts.append(_line(points, drawn[index], float(heights[-1][index]), winner))
    about = f"{len(drawn)} trials, each a line over {len(paths)} settings and its accuracy"
    return _svg(parts, _HEIGHT, about)


def curves(trials: Sequence[Trial], winner: int | None) -> str:
    """Draws the validation accuracy of each trial after each epoch."""
    drawn = [each for each in trials if len(each.outcome.curve) > 1]
    if not drawn:
        return ""
    longest = max(len(each.outcome.curve) for each in drawn)
    every = [accuracy for each in drawn for accuracy in each.outcome.curve]
    low, high = min(every), max(every)
    span, step = _HEIGHT - _TOP - 40, (_WIDTH - 2 * _LEFT) / (longest - 1)
    parts = [
        f'<text x="{_LEFT - 8}" y="{_y(share, span) + 4:.1f}" text-anchor="end">'
        f"{low + share * (high - low):.2f}</text>"
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _LEFT}" y1="{_y(share, span):.1f}"'
        f' y2="{_y(share, span):.1f}"/>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    for epoch in sorted({1, (longest + 1) // 2, longest}):
        x = _LEFT + (epoch - 1) * step
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{epoch}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">epoch</text>')
    for each in sorted(drawn, key=lambda trial: (trial.number == 0, trial.number == winner)):
        points = " ".join(
            f"{_LEFT + at * step:.1f},{_y((value - low) / max(high - low, 1e-12), span):.1f}"
            for at, value in enumerate(each.outcome.curve)
        )
        parts.append(_line(points, each, 0.3, winner))
    return _svg(parts, _HEIGHT, f"validation accuracy of {len(drawn)} trials over their epochs")


def bars(shares: Mapping[str, float]) -> str:
    """Draws shares as bars, in their order."""
    height, room = 26, 300
    parts = []
    for number, (name, share) in enumerate(shares.items()):
        y = number * height + 8
        width = share / max(shares.values()) * (_WIDTH - room - 90)
        parts.append(
            f'<text x="{room - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="bar" x="{room}" y="{y}" width="{width:.1f}" height="18"/>'
            f'<text x="{room + width + 8:.1f}" y="{y + 14}">{100 * share:.0f} %</text>'
        )
    about = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    return _svg(parts, len(shares) * height + 12, about)


def _y(share: float, span: float) -> float:
    return _TOP + (1 - share) * span


def _axis(x: float, name: str, number: int, said: Mapping[float, Leaf], span: float) -> str:
    """A line with the name above it, and its values beside it: all if few, else both ends."""
    shown = sorted(said) if len(said) <= 6 else [min(said), max(said)]
    label = name.removeprefix("stages.")
    label = label if len(label) <= _LONGEST else "…" + label[1 - _LONGEST :]
    ticks = "".join(
        f'<text x="{x + 5:.1f}" y="{_y(height, span) + 4:.1f}">{escape(_text(said[height]))}</text>'
        for height in shown
    )
    return (
        f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + span}"/>'
        f'<text class="name" x="{x:.1f}" y="{16 if number % 2 else 34}" text-anchor="middle">'
        f"{escape(label)}</text>{ticks}"
    )


def _text(value: Leaf) -> str:
    if value is None:
        return "not set"
    if isinstance(value, float):
        return f"{value:.3g}"
    return show(value)[:_LONGEST]


def _line(points: str, trial: Trial, share: float, winner: int | None) -> str:
    """Better is bluer; the winner is thick, and the recipe as written dashed."""
    kind = "winner" if trial.number == winner else "written" if not trial.number else "trial"
    hue = 20 + 200 * share
    color = f' style="stroke:hsl({hue:.0f} 70% 45%)"' if kind == "trial" else ""
    title = f"trial {trial.number}: {trial.outcome.accuracy:.3f}; {trial.what}"
    return (
        f'<polyline class="{kind}"{color} points="{points}"><title>{escape(title)}</title>'
        "</polyline>"
    )


def _svg(parts: Sequence[str], height: int, about: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(about)}">'
        + "".join(parts)
        + "</svg>"
    )
