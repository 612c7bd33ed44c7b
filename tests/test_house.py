"""The house: floors, names, and the commands that the README shows."""

from __future__ import annotations

import ast
import csv
import os
import re
import shutil
import subprocess
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


# Once it says where it listens, it is asked to stop.
STOPPED = """{} --port 0 --grpc-port 0 > told & server=$!
until grep -q http:// told; do kill -0 $server || exit 1; sleep 0.2; done
kill $server; wait $server"""


def readme_commands() -> list[str]:
    blocks = re.findall(r"^    ((?:python|graft) .*)$", (ROOT / "README.md").read_text(), re.M)
    return [line for block in blocks for line in block.split(" && ")]


def test_the_readme_shows_the_commands_that_a_new_user_needs() -> None:
    commands = readme_commands()
    for wanted in (
        "python -m pip install -e .",
        "python recipes/digits.py",
        "python -m pip install -e '.[test]'",
        "python -m pytest",
        "graft train recipes/folder.py --data.source ~/photos",
        "graft evaluate runs/folder/<id>",
        "graft export runs/folder/<id>",
        "graft predict saved_models/folder/1 ~/new/*.jpg --output predictions.csv",
        "graft serve saved_models/folder",
    ):
        assert wanted in commands


def test_the_commands_of_the_readme_work(photos: Path, tmp_path: Path) -> None:
    """All but those that install and test: in a copy, with a small network and no download."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    home = tmp_path / "home"
    shutil.copytree(photos, home / "photos")
    (home / "new").mkdir()
    for number, path in enumerate(sorted((photos / "10").iterdir())[:3]):
        shutil.copy(path, home / "new" / f"{number}.jpg")
    shutil.copytree(photos / "10", home / "unlabelled" / "deep")
    small = " --backbone compact --weights none --image_size 32 --epochs 1"
    binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run_id = ""
    for command in readme_commands():
        if "pip" in command or "pytest" in command:
            continue
        command = command.replace("<id>", run_id)
        if command.split()[1] in ("train", "diagnose", "find-lr", "tune", "ablate"):
            command += small
        if command.startswith("graft pretrain"):
            command += " --image_size 32 --batch_size 4 --steps 2"
        if command.startswith("graft tune"):
            command += " --trials 2"
        if command.startswith("graft ablate"):
            command += " --seeds 1"
        if command.startswith("graft backbones"):
            command += " --only compact=none"
        if command.startswith("graft serve"):
            command = STOPPED.format(command)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={**os.environ, "HOME": str(home), "PATH": binaries},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        # A diagnosis answers no, and rightly, of a network with random weights.
        expected = (0, 1) if command.startswith("graft diagnose") else (0,)
        assert done.returncode in expected, f"{command}\n{done.stderr[-2000:]}"
        if "recipes/folder.py" in command and "train" in command:
            run_id = Path(done.stdout.splitlines()[-1]).name
        if command.startswith("graft diagnose"):
            checks = [line for line in done.stdout.splitlines() if line[:4] in ("pass", "FAIL")]
            assert len(checks) >= 9
        if "digits" in command:
            assert "saved_models/digits/1" in done.stdout
            assert (tmp_path / done.stdout.splitlines()[-1] / "metrics.json").is_file()
            assert len(list((tmp_path / "data" / "digits").rglob("*.png"))) == 1797
    with (tmp_path / "predictions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
