"""Rows of features on disk: found again as they were added, or computed again."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import CacheError, GraftError
from app.features import cache, rows
from app.features.cache import Collection, FloatRangeError, open_collection
from app.features.parts import is_sound, read_head, write_part
from app.features.rows import row_ids
from tests.small_features import wait_for

KEY = {"backbone": "compact", "image_size": 32, "cut": "pooled"}
Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def numbers(ids: np.ndarray, width: int = 3) -> np.ndarray:
    """What the row of each id is to hold; float16 has it exactly."""
    return np.sin(ids[:, None] + np.arange(width)).astype("float16")


def put(collection: Collection, ids: np.ndarray) -> None:
    with collection.adding() as add:
        add(ids, numbers(ids, collection.width))


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/[0-9]*.rows"))


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def test_rows_are_found_as_they_were_added() -> None:
    ids = np.array([7, -3, 2**62, 0])
    with open_collection(KEY, 3) as collection:
        assert collection.missing(ids).tolist() == [0, 1, 2, 3]
        put(collection, ids[[2, 0]])
        assert collection.missing(ids).tolist() == [1, 3]
    with open_collection(KEY, 3) as again:
        found = again.rows(np.array([7, 2**62]))
        assert len(found) == 2
        np.testing.assert_array_equal(found.load(), numbers(np.array([7, 2**62])))
        assert found.load().dtype == np.float16


def test_a_row_that_copies_of_an_image_ask_for_is_computed_once() -> None:
    ids = np.array([5, 3, 5, 3, 9])
    with open_collection(KEY, 3) as collection:
        missing = collection.missing(ids)
        assert missing.tolist() == [0, 1, 4]
        put(collection, ids[missing])
        assert not len(collection.missing(ids))
        np.testing.assert_array_equal(collection.rows(ids).load(), numbers(ids))


def test_rows_of_several_axes_are_flattened() -> None:
    images = np.arange(24, dtype="float32").reshape(2, 2, 2, 3)
    with open_collection(KEY, 12) as collection:
        with collection.adding() as add:
            add(np.array([1, 2]), images)
        loaded = collection.rows(np.array([2, 1])).load()
    np.testing.assert_array_equal(loaded, images.reshape(2, 12)[::-1])


def test_a_batch_may_be_computed_into_the_same_memory_again() -> None:
    batch, ids = np.zeros((2, 3), "float16"), np.arange(2)
    with open_collection(KEY, 3) as collection:
        with collection.adding() as add:
            for number in range(3):
                batch[:] = number
                ids[:] = 2 * number + np.arange(2)
                add(ids, batch)
        loaded = collection.rows(np.arange(6)).load()
    np.testing.assert_array_equal(loaded[:, 0], [0, 0, 1, 1, 2, 2])


def test_the_key_decides_the_collection_and_its_order_does_not(place: Path) -> None:
    ids = np.arange(2)
    with open_collection(KEY, 3) as collection:
        put(collection, ids)
    with open_collection(dict(reversed(KEY.items())), 3) as same:
        assert not len(same.missing(ids))
    for key, width in (({**KEY, "image_size": 33}, 3), ({**KEY, "seed": 0}, 3), (KEY, 4)):
        with open_collection(key, width) as other:
            assert len(other.missing(ids)) == 2
    assert json.loads((collection.folder / "about.json").read_text()) == {
        "format": 1,
        "key": KEY,
        "width": 3,
    }


def test_a_collection_that_nothing_was_added_to_leaves_nothing(place: Path) -> None:
    with open_collection(KEY, 3) as collection:
        assert collection.folder.is_dir()
        with collection.adding():
            pass
    assert [path.name for path in place.iterdir()] == [".lock"]


def test_rows_that_are_missing_cannot_be_opened() -> None:
    with open_collection(KEY, 3) as collection:
        put(collection, np.arange(3))
        with pytest.raises(CacheError, match="lacks 2 of 5 rows"):
            collection.rows(np.arange(5))


def test_no_row_is_no_special_case() -> None:
    none = np.empty(0, np.int64)
    with open_collection(KEY, 3) as collection:
        put(collection, none)
        assert collection.missing(none).tolist() == []
        assert collection.rows(none).load().shape == (0, 3)


def test_rows_are_gathered_by_position_from_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """More parts than are mapped at once, in threads as a pipeline asks for them."""
    monkeypatch.setattr(rows, "_MOST_MAPS", 2)
    random = np.random.default_rng(0)
    ids = random.permutation(1000)
    with open_collection(KEY, 5) as collection:
        for some in np.split(random.permutation(ids), [10, 11, 400, 990]):
            put(collection, some)
        found = collection.rows(ids)
        wanted = [random.integers(0, 1000, 32) for _ in range(40)]
        with ThreadPoolExecutor(4) as pool:
            gathered = list(pool.map(found.gather, wanted))
        for positions, values in zip(wanted, gathered, strict=True):
            np.testing.assert_array_equal(values, numbers(ids[positions], 5))
        np.testing.assert_array_equal(found.load(), numbers(ids, 5))
        chunks = list(found.chunks(300))
        assert [len(chunk) for chunk in chunks] == [300, 300, 300, 100]
        np.testing.assert_array_equal(np.concatenate(chunks), numbers(ids, 5))


def test_mapped_rows_outlive_their_files() -> None:
    with open_collection(KEY, 3) as collection:
        put(collection, np.arange(4))
        mapped, unmapped = collection.rows(np.arange(4)), collection.rows(np.arange(4))
        mapped.gather(np.array([0]))
        shutil.rmtree(collection.folder)
        np.testing.assert_array_equal(mapped.load(), numbers(np.arange(4)))
        with pytest.raises(CacheError, match=r"cannot be read any more \(No such file"):
            unmapped.load()


@pytest.mark.parametrize("limit", ["PART_BYTES", "PART_SECONDS"])
def test_a_part_is_written_when_it_is_full_or_due(
    limit: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_collection(KEY, 3) as collection, collection.adding() as add:
        add(np.arange(5), np.ones((5, 3)))
        assert parts(place) == []
        monkeypatch.setattr(cache, limit, 6 * 5)
        if limit == "PART_SECONDS":
            monkeypatch.setattr(cache, limit, 0.0)
        add(np.arange(5, 6), np.ones((1, 3)))
        assert len(parts(place)) == 1
        assert collection.missing(np.arange(7)).tolist() == [6]
        monkeypatch.undo()  # what was written counts no more towards the next part
        monkeypatch.setenv("GRAFT_CACHE", str(place.parent))
        add(np.arange(6, 7), np.ones((1, 3)))
        assert len(parts(place)) == 1
    assert len(parts(place)) == 2


def test_what_was_computed_before_ctrl_c_is_kept() -> None:
    with open_collection(KEY, 3) as collection:
        with pytest.raises(KeyboardInterrupt), collection.adding() as add:  # noqa: PT012  # in the midst of it
            add(np.arange(5), np.ones((5, 3)))
            raise KeyboardInterrupt
        assert collection.missing(np.arange(6)).tolist() == [5]


def test_ctrl_c_stops_even_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_collection(KEY, 3) as collection:
        monkeypatch.setenv("GRAFT_CACHE_LIMIT", "0GB")
        with pytest.raises(KeyboardInterrupt), collection.adding() as add:  # noqa: PT012  # in the midst of it
            add(np.arange(5), np.ones((5, 3)))
            raise KeyboardInterrupt


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 65505.0, -1e6])
def test_what_float16_cannot_hold_is_refused(value: float) -> None:
    spoilt = np.ones((2, 3), "float32")
    spoilt[1, 2] = value
    with open_collection(KEY, 3) as collection:
        with pytest.raises(FloatRangeError, match="beyond what float16 can hold") as raised:  # noqa: PT012, SIM117  # in the midst of it
            with collection.adding() as add:
                add(np.arange(2), np.full((2, 3), -65504.0))
                add(np.arange(2, 4), spoilt)
        assert collection.missing(np.arange(4)).tolist() == [2, 3]
        assert collection.rows(np.arange(2)).load().tolist() == [[-65504.0] * 3] * 2
    assert isinstance(raised.value, ValueError)
    assert isinstance(raised.value, GraftError)


def test_any_flipped_bit_and_any_other_length_is_found(tmp_path: Path) -> None:
    path, ids = tmp_path / "0.rows", np.array([5, -9])
    write_part(path, ids, [numbers(ids[:1]), numbers(ids[1:])])
    whole = path.read_bytes()
    assert len(whole) == 64 + 2 * (8 + 3 * 2)
    flipped = [
        whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
        for at in range(len(whole))
        for bit in range(8)
    ]
    for damaged in (*flipped, *(whole[:length] for length in range(len(whole))), whole + b"\0"):
        path.write_bytes(damaged)
        part = read_head(path, 3)
        assert part is None or not is_sound(part)
    path.write_bytes(whole)
    sound = read_head(path, 3)
    assert sound is not None
    assert is_sound(sound)
    assert sound.ids.tolist() == [5, -9]


@pytest.mark.parametrize("damage", ["header", "ids", "rows", "cut off", "empty"])
def test_a_damaged_part_is_removed_and_computed_again(
    damage: str, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_collection(KEY, 3) as collection:
        put(collection, np.arange(4))
        put(collection, np.arange(4, 6))
    path = parts(place)[0]
    if damage in ("cut off", "empty"):
        path.write_bytes(path.read_bytes()[: -1 if damage == "cut off" else 0])
    else:
        flip(path, {"header": 20, "ids": 70, "rows": -1}[damage])
    with open_collection(KEY, 3) as collection, caplog.at_level(logging.WARNING, "graft"):
        assert collection.missing(np.arange(6)).tolist() == [0, 1, 2, 3]
        assert f"{path} is damaged: removed" in caplog.text
        assert len(caplog.records) == 1
        assert len(parts(place)) == 1
        put(collection, np.arange(4))
        np.testing.assert_array_equal(collection.rows(np.arange(6)).load(), numbers(np.arange(6)))


def test_a_row_is_taken_from_the_other_part_if_the_older_one_is_damaged(place: Path) -> None:
    with open_collection(KEY, 3) as collection:
        for value in (1, 2):
            with collection.adding() as add:
                add(np.arange(2), np.full((2, 3), value))
        assert collection.rows(np.arange(2)).load().tolist() == [[1] * 3] * 2
    flip(parts(place)[0], -1)
    with open_collection(KEY, 3) as collection:
        assert collection.rows(np.arange(2)).load().tolist() == [[2] * 3] * 2


def test_only_parts_that_are_asked_for_are_read_through(place: Path) -> None:
    """Other data with the same settings cost nothing."""
    with open_collection(KEY, 3) as collection:
        put(collection, np.arange(2))
        put(collection, np.arange(2, 4))
    flip(parts(place)[1], -1)
    with open_collection(KEY, 3) as collection:
        assert not len(collection.missing(np.arange(2)))
        assert len(parts(place)) == 2
        assert len(collection.missing(np.arange(4))) == 2
        assert len(parts(place)) == 1


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "reopen", "damage"]),
        st.integers(0, 1),
        st.lists(st.integers(-2, 9), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=30, deadline=None)
@given(OPERATIONS)
def test_two_users_find_what_was_added_first_and_nothing_else(
    operations: list[tuple[str, int, list[int]]],
) -> None:
    everything, written = np.arange(-2, 10), list[list[int]]()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("GRAFT_CACHE", folder)
        opened = [open_collection(KEY, 2) for _ in range(2)]
        users = [each.__enter__() for each in opened]
        for number, (what, who, some) in enumerate(operations):
            ids = np.array(some)
            if what == "add":
                with users[who].adding() as add:
                    add(ids, np.stack([ids, np.full_like(ids, number)], axis=1))
                written.append([number, *some])
            elif what == "reopen":
                opened[who].__exit__(None, None, None)
                opened[who] = open_collection(KEY, 2)
                users[who] = opened[who].__enter__()
            elif written and what == "damage":
                index = some[0] % len(written)
                flip(parts(Path(folder) / "features")[index], -1)
                del written[index]
                for each in opened:  # a process looks at a part once
                    each.__exit__(None, None, None)
                opened = [open_collection(KEY, 2) for _ in range(2)]
                users = [each.__enter__() for each in opened]
                users[who].missing(everything)
            truth = {each: first for first, *rest in reversed(written) for each in rest}
            absent = everything[users[1 - who].missing(everything)]
            assert set(absent.tolist()) == set(everything.tolist()) - truth.keys()
            there = np.array(sorted(truth), np.int64)
            wanted = np.array([[each, truth[each]] for each in there], np.float16)
            found = users[who].rows(there).gather(np.arange(len(there)))
            np.testing.assert_array_equal(found, wanted.reshape(-1, 2))
        for each in opened:
            each.__exit__(None, None, None)


ADD_WITHOUT_END = """
import itertools
import numpy as np
from app.features.cache import open_collection
with open_collection({"backbone": "compact"}, 1000) as collection:
    for start in itertools.count(0, 4000):
        with collection.adding() as add:
            add(np.arange(start, start + 4000), np.full((4000, 1000), start // 4000))
"""


def test_killing_a_process_while_it_writes_leaves_whole_parts_only(place: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ADD_WITHOUT_END])
    wait_for(lambda: parts(place) != [] and any(place.glob("*/.partial-*.rows")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(place.glob("*/.partial-*"))) <= 1
    with open_collection({"backbone": "compact"}, 1000) as collection:
        assert not list(place.glob("*/.partial-*"))
        there = len(parts(place)) * 4000
        ids = np.arange(there + 4000)
        assert collection.missing(ids).tolist() == list(range(there, there + 4000))
        first = collection.rows(ids[:there]).load()[:, [0, -1]]
    np.testing.assert_array_equal(first, np.stack([ids[:there] // 4000] * 2, axis=1))


ADD_THE_SAME = """
import sys
import numpy as np
from app.features import cache
cache.PART_BYTES = 1
sys.stdin.readline()
with cache.open_collection({"backbone": "compact"}, 4) as collection:
    for start in range(0, 60, 3):
        ids = np.arange(start, start + 3)
        with collection.adding() as add:
            add(ids, np.repeat(ids[:, None], 4, axis=1))
        assert collection.rows(ids).load().tolist() == [[each] * 4 for each in ids]
"""


def test_two_processes_add_the_same_rows_at_once(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", ADD_THE_SAME], stdin=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert len(parts(place)) == 40
    with open_collection({"backbone": "compact"}, 4) as collection:
        loaded = collection.rows(np.arange(60)).load()
    np.testing.assert_array_equal(loaded, np.repeat(np.arange(60)[:, None], 4, axis=1))
    assert caplog.text == ""


FULL_DISK = """
import resource
import signal
import numpy as np
from app.errors import CacheError
from app.features.cache import open_collection
with open_collection({"backbone": "compact"}, 1000) as collection:
    with collection.adding() as add:
        add(np.arange(100), np.ones((100, 1000)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
    try:
        with collection.adding() as add:
            add(np.arange(100, 500), np.ones((400, 1000)))
    except CacheError as error:
        print(error)
    print(collection.missing(np.arange(500)).tolist() == list(range(100, 500)))
    print(sorted(path.suffix or path.name for path in collection.folder.iterdir()))
"""


def test_a_write_that_fails_is_told_and_leaves_nothing_half_written(python: Python) -> None:
    """A limit on the size of files stands for a disk that is full."""
    done = python("-c", FULL_DISK)
    told, missing, left = done.stdout.splitlines()
    assert "cannot be written (File too large): set GRAFT_CACHE to another folder" in told
    assert missing == "True"
    assert left == "['.json', '.lock', '.rows']"


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "file"))
    with (
        pytest.raises(CacheError, match=r"cannot be written \(Not a directory\)"),
        open_collection(KEY, 3),
    ):
        pass


def test_every_view_of_an_image_has_a_row_of_its_own() -> None:
    images, views = np.array([2**63 - 1, -(2**63), 0, 1]), np.arange(50)
    found = row_ids(images[:, None], views)
    step = -(-(2**64) * 2 // (1 + 5**0.5))  # the golden ratio of 2**64, in Python's integers
    assert found.shape == (4, 50)
    assert row_ids([2**63 - 1], 49).tolist() == [found[0, 49]]
    assert len(np.unique(found)) == 200
    np.testing.assert_array_equal(found[:, 0], images)
    assert abs(int(found[2, 1]) % 2**64 - step) < 2**13  # as exact as float64 has it
    for (image, view), value in np.ndenumerate(found):
        exact = int(images[image]) + view * int(found[2, 1])
        assert (exact - int(value)) % 2**64 == 0


def test_neither_tensorflow_nor_keras_is_imported(python: Python) -> None:
    heavy = "sorted({'tensorflow', 'keras'} & set(sys.modules))"
    done = python("-c", f"import sys, app.features.cache; print({heavy})")
    assert done.stdout == "[]\n"
