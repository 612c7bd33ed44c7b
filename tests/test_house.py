"""The house: floors, names, lengths and links."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# A module imports from floors below its own, and from its own package.
FLOORS = {
    0: {
        "engines",
        "errors",
        "files",
        "kinds",
        "pretrain_recipe",
        "recipe",
        "recipe_file",
        "recipe_parts",
        "run_directory",
        "settings",
        "version",
        "working",
    },
    1: {"backbones", "data"},
    2: {"features", "heads", "models"},
    3: {"evaluation", "training"},
    4: {"exports"},
    5: {
        "describing",
        "exporting",
        "manifest",
        "preparation",
        "prepared",
        "runs",
        "steps",
    },
    6: {
        "ablation",
        "budget",
        "diagnosing",
        "finding",
        "pretraining",
        "ranking",
        "serving",
        "tuning",
    },
    7: {
        "verbs",
        "commands",
        "explaining",
        "export_command",
        "options",
        "pretraining_command",
        "serving_command",
        "tuning_command",
        "cli",
        "__init__",
    },
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}
MODULES = sorted((ROOT / "app").rglob("*.py"))
STANDARD_LIBRARY_ONLY = [
    *(ROOT / "app" / f"{name}.py" for name in sorted(FLOORS[0])),
    ROOT / "app" / "backbones" / "backbone.py",
    ROOT / "app" / "backbones" / "candidates.py",
    ROOT / "app" / "backbones" / "table.py",
    ROOT / "app" / "backbones" / "weights.py",
    ROOT / "app" / "ablation" / "parts.py",
    ROOT / "app" / "budget" / "choosing.py",
    ROOT / "app" / "budget" / "costs.py",
    ROOT / "app" / "budget" / "request.py",
    ROOT / "app" / "cli.py",
    ROOT / "app" / "explaining.py",
    ROOT / "app" / "export_command.py",
    ROOT / "app" / "pretraining_command.py",
    ROOT / "app" / "options.py",
    ROOT / "app" / "data" / "csv_table.py",
    ROOT / "app" / "data" / "sampling.py",
    ROOT / "app" / "evaluation" / "tables.py",
    ROOT / "app" / "backbones" / "licences.py",
    ROOT / "app" / "exports" / "card.py",
    ROOT / "app" / "exports" / "hashes.py",
    ROOT / "app" / "exports" / "listing.py",
    ROOT / "app" / "exports" / "places.py",
    ROOT / "app" / "exports" / "request.py",
    ROOT / "app" / "exports" / "rows.py",
    ROOT / "app" / "features" / "keeping.py",
    ROOT / "app" / "features" / "locks.py",
    ROOT / "app" / "features" / "places.py",
    ROOT / "app" / "features" / "walking.py",
    ROOT / "app" / "serving" / "errors.py",
    ROOT / "app" / "serving" / "limits.py",
    ROOT / "app" / "serving_command.py",
    ROOT / "app" / "tuning_command.py",
    *(
        ROOT / "app" / "tuning" / f"{name}.py"
        for name in (
            "default_space",
            "journal",
            "median",
            "places",
            "request",
            "results",
            "supervising",
            "tidying",
            "trials",
            "writing",
        )
    ),
    ROOT / "app" / "verbs.py",
]


def imported(path: Path) -> set[str]:
    """Lists what a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        assert not getattr(node, "level", 0), f"{path} has a relative import"
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "app":
            found |= {f"app.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


def part(module: str) -> str:
    """Returns `data` for `app.data.index`."""
    return module.split(".")[1]


def own_part(path: Path) -> str:
    return path.relative_to(ROOT / "app").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_floors_below(path: Path) -> None:
    own = own_part(path)
    for module in imported(path):
        if module.startswith("app."):
            other = part(module)
            below = FLOOR_OF[other] < FLOOR_OF[own] or FLOOR_OF[own] in (0, 2, 5, 7)
            assert other == own or (below and FLOOR_OF[other] <= FLOOR_OF[own]), module


@pytest.mark.parametrize("path", STANDARD_LIBRARY_ONLY, ids=lambda path: path.name)
def test_what_answers_mistakes_imports_the_standard_library_only(path: Path) -> None:
    outside = {name.split(".")[0] for name in imported(path)} - {"app"}
    assert outside <= sys.stdlib_module_names


def test_asking_an_export_imports_nothing_of_training() -> None:
    modules = {
        name
        for each in ("listing", "loaded", "many", "parquet", "places", "prediction", "rows")
        for name in imported(ROOT / "app" / "exports" / f"{each}.py")
        if name.startswith("app.")
    }
    own = {f"app.exports.{name}" for name in ("loaded", "parquet", "places", "prediction", "rows")}
    assert modules <= {"app.errors", "app.features.folding", "app.files", *own}


def test_serving_reads_exports_and_knows_nothing_else() -> None:
    modules = {name for path in (ROOT / "app" / "serving").rglob("*.py") for name in imported(path)}
    parts = {part(name) for name in modules if name.startswith("app.")}
    assert parts == {"errors", "exports", "serving"}
    exports = {name for name in modules if name.startswith("app.exports.")}
    assert exports == {f"app.exports.{name}" for name in ("card", "hashes", "loaded", "signatures")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_no_dead_link_and_no_figure_left_out(page: Path) -> None:
    text = page.read_text()
    assert "@@" not in text
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link
