"""The page of a search: one file that asks for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from app.tuning.drawing import bars, curves, parallel_coordinates
from app.tuning.importance import LEAST_TRIALS, importance
from app.tuning.request import Tuning
from app.tuning.results import lines
from app.tuning.trials import FAILED, Trial

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1d21; --soft: #6a727c; --rule: #d9dde2; --paper: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --soft: #9aa3ad; --rule: #3a4048; --paper: #16191d; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.note, caption { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
td.n, th.n { text-align: right; } tr.winner td { font-weight: 600; }
svg { width: 100%; min-width: 40rem; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg text.name { font-weight: 600; }
svg polyline { fill: none; stroke-width: 1.6; opacity: .75; }
svg polyline:hover { stroke-width: 4; opacity: 1; }
svg polyline.winner { stroke: #1261d1; stroke-width: 4; opacity: 1; }
svg polyline.written { stroke: var(--ink); stroke-width: 2.5; stroke-dasharray: 6 4; opacity: 1; }
svg line.axis { stroke: var(--soft); } svg line.grid { stroke: var(--rule); }
svg rect.bar { fill: #1261d1; }
"""


def page(tuning: Tuning, trials: Sequence[Trial], results: dict[str, Any]) -> str:
    """Writes the page as HTML.

    Args:
        tuning: Of which.
        trials: All, by number.
        results: What `finish` found.
    """
    name, winner = escape(tuning.request.recipe.name), results["winner"]
    sentences = lines(results, tuning.directory)
    said = "".join(f"<p>{escape(each[0].upper() + each[1:])}.</p>" for each in sentences)
    shares = importance(trials)
    none = f"It cannot be told from so few trials, or so even ones: at least {LEAST_TRIALS} that"
    none += " differ are needed."
    sections = [
        ("Trials over their settings", parallel_coordinates(trials, winner)),
        ("What matters", bars(shares) if shares else f'<p class="note">{none}</p>'),
        ("Learning curves", curves(trials, winner)),
        ("All trials", _table(trials, winner)),
        ("Failures", _failures(trials)),
    ]
    body = "".join(
        f'<h2>{heading}</h2><div class="scroll">{content}</div>'
        for heading, content in sections
        if content
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Search of {name}</title><style>{_STYLE}</style></head><body>"
        f"<h1>Search of {name}</h1>{said}"
        '<p class="note">In the drawings the winner is thick and the recipe as written dashed;'
        " a line names its trial under the pointer.</p>"
        f"{body}</body></html>\n"
    )


def _table(trials: Sequence[Trial], winner: int | None) -> str:
    head = "".join(
        f'<th scope="col"{kind}>{name}</th>'
        for name, kind in (
            ("trial", ' class="n"'),
            ("validation accuracy", ' class="n"'),
            ("loss", ' class="n"'),
            ("seconds", ' class="n"'),
            ("status", ""),
            ("what it changes", ""),
        )
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{_rows(trials, winner)}</tbody></table>"


def _rows(trials: Sequence[Trial], winner: int | None) -> str:
    rows = []
    for each in trials:
        of = each.outcome
        cells = [_number(of.accuracy), _number(of.loss), f"{of.seconds:.1f}"]
        rows.append(
            f"<tr{' class=winner' if each.number == winner else ''}>"
            f'<td class="n">{each.number}</td>'
            + "".join(f'<td class="n">{cell}</td>' for cell in cells)
            + f"<td>{of.status}</td><td>{escape(each.what)}</td></tr>"
        )
    return "".join(rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _failures(trials: Sequence[Trial]) -> str:
    failed = [each for each in trials if each.status == FAILED]
    items = "".join(f"<li>trial {each.number}: {escape(each.outcome.said)}</li>" for each in failed)
    return f"<ul>{items}</ul>" if items else ""
