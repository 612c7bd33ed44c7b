"""`graft cache`, asked in processes of its own that cannot load anything heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.small_features import in_use, keep

Answer = subprocess.CompletedProcess[str]
Ask = Callable[..., Answer]
GRAFT = [sys.executable, "-c", "from app.cli import graft; graft()"]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    for name in ("numpy", "tensorflow", "keras", "tqdm"):
        (tmp_path / "forbidden").mkdir(exist_ok=True)
        (tmp_path / "forbidden" / f"{name}.py").write_text("raise SystemExit('was loaded')\n")

    def call(*arguments: str) -> Answer:
        return subprocess.run(
            [*GRAFT, "cache", *arguments],
            env={**os.environ, "PYTHONPATH": str(tmp_path / "forbidden"), "COLUMNS": "80"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


def said(answer: Answer) -> list[str]:
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout.splitlines()


def test_an_empty_cache_says_where_it_would_be(ask: Ask, tmp_path: Path) -> None:
    place = tmp_path / "cache" / "features"
    assert said(ask()) == [f"0 collections, 0 B of at most 10 GB in {place}"]
    assert said(ask("--clear")) == [f"removed 0 collections, 0 B from {place}"]
    assert not place.exists()


def test_collections_are_listed_with_the_last_used_first(ask: Ask, tmp_path: Path) -> None:
    keep("mobilenet_v2", rows=12_000, days_ago=1)
    spoilt = keep("spoilt")
    (spoilt / "about.json").write_text("")
    with in_use("compact"):
        keep("compact")
        head, first, second, third, total = said(ask())
    assert head.split() == ["backbone", "pixels", "cut", "rows", "size", "last", "used"]
    assert first.split()[:5] == ["compact", "-", "-", "100", "10.9"]
    assert first.endswith(", in use")
    assert second.split()[:6] == ["mobilenet_v2", "-", "-", "12,000", "1.3", "MB"]
    assert third.split()[:4] == ["-", "-", "-", "0"]
    place = tmp_path / "cache" / "features"
    assert total == f"3 collections, 1.32 MB of at most 10 GB in {place}"
    assert max(map(len, (head, first, second, third))) <= 100


def test_clearing_says_what_went_and_what_is_in_use(ask: Ask, tmp_path: Path) -> None:
    keep("a", days_ago=40)
    keep("b", days_ago=40)
    keep("c", days_ago=20)
    place = tmp_path / "cache" / "features"
    with in_use("a"):
        first, *rest = said(ask("--clear", "--older-than", "30"))
        assert first == f"removed 1 collection, 10.9 kB from {place}"
        assert rest == []  # what is in use was last used now
        assert said(ask("--clear")) == [
            f"removed 1 collection, 10.9 kB from {place}",
            "kept 1 collection, 10.9 kB, in use",
        ]
    assert said(ask("--clear"))[0].startswith("removed 1 collection")


def test_the_help_says_how_to_clear(ask: Ask) -> None:
    text = "\n".join(said(ask("--help")))
    assert text.startswith("usage: graft cache [-h] [--clear] [--older-than DAYS]")
    assert "features" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--older-than", "3"), "--older-than says which features --clear removes: give both"),
        (("--clear", "--older-than", "-3"), "'-3' is no number of days"),
        (("--clear", "--older-than", "soon"), "'soon' is no number of days, such as 30"),
        (("all",), "unrecognized arguments: all"),
    ],
)
def test_mistakes_are_answered_in_one_line(ask: Ask, arguments: tuple[str, ...], told: str) -> None:
    answer = ask(*arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    (line,) = answer.stderr.splitlines()
    assert line.startswith("graft: ")
    assert told in line


def test_a_limit_that_is_no_size_is_answered_in_one_line(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_CACHE_LIMIT", "plenty")
    answer = ask()
    assert answer.returncode == 2
    assert answer.stderr == (
        "graft: GRAFT_CACHE_LIMIT is 'plenty': give a size such as 20GB or 500MB\n"
    )
