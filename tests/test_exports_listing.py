"""Which images a prediction is asked for."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import Run, export
from app.errors import ExportError
from app.exports.listing import asked_for, can_be_counted
from app.exports.request import Request

NOTHING = io.StringIO()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.jpg", "b/1.jpg", "a.png", "b/c/3.jpg", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def listed(folder: Path, *names: str, stdin: str = "") -> list[str]:
    found = asked_for(names, io.StringIO(stdin))
    return [str(each.relative_to(folder)) if each.is_absolute() else str(each) for each in found]


def test_patterns_match_in_the_order_of_names(folder: Path) -> None:
    assert listed(folder, f"{folder}/**/*.jpg") == ["b/1.jpg", "b/2.jpg", "b/c/3.jpg"]
    assert listed(folder, f"{folder}/b/?.jpg", f"{folder}/a.png") == ["b/1.jpg", "b/2.jpg", "a.png"]


def test_a_file_whose_name_is_a_pattern_is_itself(folder: Path) -> None:
    (folder / "x[1].jpg").touch()
    (folder / "x1.jpg").touch()
    assert listed(folder, f"{folder}/x[1].jpg") == ["x[1].jpg"]


def test_a_pattern_that_matches_nothing_is_said(folder: Path) -> None:
    with pytest.raises(ExportError, match=r"\*\.tif matches no file"):
        listed(folder, f"{folder}/*.tif")


@pytest.mark.parametrize("column", ["path", "file"])
def test_a_table_lists_files_relative_to_its_folder(folder: Path, column: str) -> None:
    table = folder / "b" / "list.csv"
    table.write_text(f'﻿class,{column}\nx,2.jpg\ny,"c/3.jpg"\nz,{folder}/a.png\nx,2.jpg\n')
    found = ["b/2.jpg", "b/c/3.jpg", "a.png", "b/2.jpg"]  # a row each, so also twice
    assert listed(folder, str(table)) == found
    assert listed(folder, f"{folder}/a.png", str(table)) == ["a.png", *found]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,class\nx,y\n", "has no column path or file, but name, class"),
        ("", "has no column path or file, but none"),
        ("class,path\nx\n", "line 2 names no file"),
        ('path\n"x\n', "cannot be read"),
    ],
)
def test_a_table_that_lists_nothing_is_said(folder: Path, text: str, said: str) -> None:
    (folder / "list.csv").write_text(text)
    with pytest.raises(ExportError, match=said):
        listed(folder, str(folder / "list.csv"))


def test_standard_input_is_a_path_a_line_as_it_comes(folder: Path) -> None:
    assert listed(folder, "-", stdin=f"{folder}/a.png\n\nsome where/x.jpg\r\n") == [
        "a.png",
        "some where/x.jpg",
    ]
    assert not can_be_counted(["a", "-"])
    assert can_be_counted(["a", "b.csv"])
    lines = iter([f"{folder}/a.png\n", "stop"])
    assert next(asked_for(["-"], lines)).name == "a.png"  # type: ignore[arg-type]  # lines, too
    assert next(lines) == "stop"


def test_an_odd_name_on_standard_input_is_an_error_in_its_row(
    finished: Run, tmp_path: Path
) -> None:
    version = export(finished, tmp_path, Request(certified=False))
    good = finished.test_images()[0]
    names = b"\n".join([str(good).encode(), b"a\0b", b"caf\xe9.jpg"]) + b"\n"
    done = subprocess.run(
        [sys.executable, "-c", "from app.cli import graft; graft()", "predict", version, "-"],
        input=names,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert done.returncode == 0, done.stderr.decode()
    rows = [*csv.DictReader(io.StringIO(done.stdout.decode(errors="surrogateescape")))]
    assert [row["error"] for row in rows] == ["", "embedded null byte", "No such file or directory"]
