"""Where features are kept, how many, and which go first."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.errors import CacheError
from app.features import keeping
from app.features.cache import open_collection
from app.features.keeping import clear, fits, kept
from app.features.places import features_folder, limit, show_size
from tests.small_features import in_use, keep, wait_for


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def names() -> list[str]:
    return [str(each.key.get("backbone", "")) for each in kept()]


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*"))


@pytest.mark.parametrize(
    ("platform", "variables", "wanted"),
    [
        ("linux", {"GRAFT_CACHE": "/big/graft", "XDG_CACHE_HOME": "/x"}, "/big/graft"),
        ("linux", {"GRAFT_CACHE": "~/kept"}, "/home/ada/kept"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/graft"),
        ("linux", {"XDG_CACHE_HOME": "", "GRAFT_CACHE": ""}, "/home/ada/.cache/graft"),
        ("darwin", {"XDG_CACHE_HOME": "/x"}, "/home/ada/Library/Caches/graft"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/graft"),
    ],
)
def test_the_folder_is_the_one_asked_for_or_the_platforms(
    platform: str, variables: dict[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRAFT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/ada", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert features_folder() == Path(wanted) / "features"


def test_a_relative_folder_is_taken_from_where_graft_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_CACHE", "here")
    assert features_folder() == tmp_path / "here" / "features"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("20GB", 20e9), ("1.5 tb", 1.5e12), ("500MB", 5e8), ("64 kB", 64e3), ("0B", 0), ("", 10e9)],
)
def test_a_limit_is_a_size(given: str, wanted: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE_LIMIT", given)
    assert limit() == wanted


@pytest.mark.parametrize("given", ["20", "GB", "-1GB", "many", "1e9B", "20GiB", "9" * 400 + "GB"])
def test_a_limit_that_is_no_size_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE_LIMIT", given)
    with pytest.raises(CacheError, match=r"GRAFT_CACHE_LIMIT is .* such as 20GB or 500MB$"):
        limit()


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1 kB"),
        (31_400_000, "31.4 MB"),
        (999_600_000, "1 GB"),
        (12_345_000_000_000, "12.35 TB"),
    ],
)
def test_sizes_are_written_as_people_read_them(size: float, wanted: str) -> None:
    assert show_size(size) == wanted


def test_what_is_kept_is_listed_with_its_rows_and_its_size(place: Path) -> None:
    assert kept() == []
    folder = keep("compact", rows=7, width=5)
    keep("compact", rows=3, width=5)
    (found,) = kept()
    assert (found.folder, found.key, found.in_use) == (folder, {"backbone": "compact"}, False)
    assert found.rows == 10
    assert found.size == total(place) - (folder / ".lock").stat().st_size
    assert found.size >= 2 * 64 + 10 * (8 + 5 * 2)
    assert abs(found.last_used - (folder / ".lock").stat().st_mtime) < 1e-3


def test_using_a_collection_makes_it_the_last_used() -> None:
    keep("a", days_ago=3)
    keep("b", days_ago=2)
    assert names() == ["a", "b"]
    with open_collection({"backbone": "a"}, 50):
        assert names() == ["b", "a"]


def test_the_least_recently_used_goes_first(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, days in (("new", 1), ("oldest", 3), ("old", 2)):
        keep(name, days_ago=days)
    assert names() == ["oldest", "old", "new"]
    monkeypatch.setenv("GRAFT_CACHE_LIMIT", "36kB")  # of about 10.9 kB each
    keep("third")
    assert names() == ["old", "new", "third"]
    with caplog.at_level(logging.INFO, "graft"):
        keep("two", rows=200)
    assert names() == ["third", "two"]
    assert "removed features from the cache to make room: old, 10.9 kB" in caplog.text


def test_what_is_in_use_stays_and_another_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    oldest = keep("oldest")
    keep("old", days_ago=2)
    monkeypatch.setenv("GRAFT_CACHE_LIMIT", "25kB")
    with in_use("oldest"):
        os.utime(oldest / ".lock", (0, 0))
        assert [each.in_use for each in kept()] == [True, False]
        keep("new")
        assert sorted(names()) == ["new", "oldest"]


def test_a_process_that_was_killed_holds_nothing() -> None:
    keep("compact")
    with in_use("compact") as process:
        assert [each.in_use for each in kept()] == [True]
        process.kill()
        process.wait()
        assert [each.in_use for each in kept()] == [False]


def test_what_can_never_fit_removes_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    keep("a", days_ago=1)
    monkeypatch.setenv("GRAFT_CACHE_LIMIT", "20kB")
    with pytest.raises(CacheError, match=r"it would hold more than 20 kB, raise GRAFT_CACHE_LIMIT"):
        keep("b", rows=200)
    assert names() == ["a"]


def test_the_collection_that_is_added_to_never_makes_room_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep("a", rows=100)
    monkeypatch.setenv("GRAFT_CACHE_LIMIT", "20kB")
    with pytest.raises(CacheError):
        keep("a", rows=100)
    (found,) = kept()
    assert found.rows == 100


def test_what_another_version_made_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    keep("old", days_ago=9)
    other = keep("of another format")
    about = json.loads((other / "about.json").read_text())
    (other / "about.json").write_text(json.dumps({**about, "format": 2}))
    spoilt = keep("spoilt")
    (spoilt / "about.json").write_text("{")
    assert names() == ["", "", "old"]
    assert {each.folder for each in kept()[:2]} == {other, spoilt}
    monkeypatch.setenv("GRAFT_CACHE_LIMIT", "25kB")
    keep("new")
    assert names() == ["old", "new"]


def test_what_fits_is_known_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    keep("loose")
    keep("held")
    monkeypatch.setenv("GRAFT_CACHE_LIMIT", "40kB")
    with open_collection({"backbone": "held"}, 50) as collection:
        held = sum(each.size for each in kept() if each.in_use)
        assert fits(40_000 - held)
        assert not fits(40_001 - held)
        most = (40_000 - held - 64) // 108
        assert collection.fits(most)
        assert not collection.fits(most + 1)
        with collection.adding() as add:
            add(np.arange(most), np.ones((most, 50)))
    assert names() == ["held"]


def test_a_disk_that_is_nearly_full_takes_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep("loose")
    monkeypatch.setenv("GRAFT_CACHE_LIMIT", "1000TB")
    monkeypatch.setattr(keeping, "SPARE_BYTES", 10**15)
    assert not fits(1)
    with pytest.raises(CacheError, match="the disk is nearly full, set GRAFT_CACHE"):
        keep("new")
    assert names() == ["loose"]


def test_clearing_keeps_what_is_in_use(place: Path) -> None:
    keep("a")
    keep("b")
    with in_use("a"):
        removed, left = clear()
        assert [each.key["backbone"] for each in removed] == ["b"]
        assert [each.key["backbone"] for each in left] == ["a"]
        assert names() == ["a"]
    assert len(clear()[0]) == 1
    assert [path.name for path in place.iterdir()] == [".lock"]


def test_clearing_can_spare_what_was_used_lately() -> None:
    keep("old", days_ago=30.5)
    keep("young", days_ago=29.5)
    removed, left = clear(30)
    assert [each.key["backbone"] for each in removed] == ["old"]
    assert left == []
    assert names() == ["young"]


def test_clearing_touches_nothing_that_is_not_grafts(place: Path) -> None:
    keep("a")
    (place / "holiday").mkdir()
    (place / "holiday" / "1.rows").touch()
    (place / ("0" * 64)).touch()
    clear()
    assert sorted(path.name for path in place.iterdir()) == [".lock", "0" * 64, "holiday"]


def test_what_a_killed_process_was_removing_goes_too(place: Path) -> None:
    keep("a").rename(place / ".removed-0123456789abcdef")
    keep("b")
    assert names() == ["b"]
    assert not list(place.glob(".removed-*"))


OPEN_AND_CLEAR = """
import sys
import numpy as np
from app.features.cache import open_collection
from app.features.keeping import clear
for number in range(60):
    if sys.argv[1] == "clear":
        clear()
        continue
    with open_collection({"backbone": "compact"}, 4) as collection:
        with collection.adding() as add:
            add(np.array([number]), np.full((1, 4), number))
        assert collection.rows(np.array([number])).load().tolist() == [[number] * 4]
"""


def test_clearing_never_takes_a_collection_from_under_its_users(place: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", OPEN_AND_CLEAR, what])
        for what in ("add", "add", "clear", "clear")
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]


def test_a_collection_that_goes_while_it_is_made_is_made_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir, refused = os.mkdir, []

    def gone(path: Path, mode: int = 0o777) -> None:
        if Path(path).parent == place and not refused:
            refused.append(path)  # another process has it, and removes it before we look
            raise FileExistsError(path)
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", gone)
    folder = keep("compact")
    assert refused == [folder]
    assert [each.folder for each in kept()] == [folder]


def test_a_file_in_the_place_of_a_collection_is_said(place: Path) -> None:
    folder = keep("compact")
    shutil.rmtree(folder)
    folder.write_text("no folder")
    with pytest.raises(CacheError, match="cannot be written"):
        keep("compact")


def test_who_waits_for_a_collection_that_is_being_removed_begins_it_anew() -> None:
    folder = keep("compact")
    with (folder / ".lock").open("r+") as lock, ThreadPoolExecutor(1) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = pool.submit(keep, "compact", rows=3)
        time.sleep(0.1)  # it opens the lock by then, and waits
        assert not waiting.done()
        shutil.rmtree(folder)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert waiting.result(timeout=30) == folder
    assert [each.rows for each in kept()] == [3]


ADD_PARTS = """
import sys
import numpy as np
from app.features.cache import open_collection
for number in range(30):
    with open_collection({"backbone": f"{sys.argv[1]} {number}"}, 50) as collection:
        with collection.adding() as add:
            add(np.arange(20), np.ones((20, 50)))
"""


def test_several_processes_keep_within_one_limit(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told of a collection, 75 bytes, is written before room is made for its rows."""
    monkeypatch.setenv("GRAFT_CACHE_LIMIT", "12kB")
    processes = [subprocess.Popen([sys.executable, "-c", ADD_PARTS, name]) for name in "ab"]
    sizes = []

    def done() -> bool:
        if place.is_dir():
            sizes.append(sum(each.size for each in kept()))
        return all(process.poll() is not None for process in processes)

    wait_for(done, 60)
    assert [process.returncode for process in processes] == [0, 0]
    assert 8_000 < max(sizes) <= 12_000 + 2 * 100
