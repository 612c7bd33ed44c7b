"""Checkpoint files: whole, hashed, the last two kept, the one before when one is damaged."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.errors import RunError
from app.training.checkpoints import Checkpoint, Checkpoints

ARRAYS = {"model/00000": np.arange(12, dtype="float32").reshape(3, 4), "seed": np.array([7, 9])}


def write(folder: Path, number: int) -> None:
    Checkpoints(folder).write(number, Checkpoint({"number": number}, ARRAYS))


def number_of(folder: Path) -> int | None:
    found = Checkpoints(folder).latest()
    return found and found.state["number"]


def test_what_was_written_is_read_bit_by_bit(tmp_path: Path) -> None:
    state = {"loss": 0.1 + 0.2, "never": float("inf"), "rows": [{"a": 1}]}
    Checkpoints(tmp_path).write(5, Checkpoint(state, ARRAYS))
    found = Checkpoints(tmp_path).latest()
    assert found is not None
    assert found.state == state
    assert {n: (a.dtype, a.tobytes()) for n, a in found.arrays.items()} == {
        n: (a.dtype, a.tobytes()) for n, a in ARRAYS.items()
    }


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path).latest() is None


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for number in (1, 2, 30, 4000):
        checkpoints.write(number, Checkpoint({"number": number}, ARRAYS))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000030.npz", "00004000.npz"]


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "gone"])
def test_a_damaged_file_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 1)
    write(tmp_path, 2)
    newest = tmp_path / "00000002.npz"
    whole = newest.read_bytes()
    if damage == "gone":
        newest.unlink()
    else:
        flipped = bytes([*whole[:200], whole[200] ^ 1, *whole[201:]])
        newest.write_bytes(
            {"torn": whole[: len(whole) // 2], "flipped": flipped, "empty": b""}[damage]
        )
    assert number_of(tmp_path) == 1
    assert ("00000002.npz is damaged" in caplog.text) == (damage != "gone")


@hypothesis_settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_no_flipped_bit_and_no_cut_goes_unnoticed(tmp_path: Path, data: st.DataObject) -> None:
    write(tmp_path, 1)
    path = tmp_path / "00000001.npz"
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(whole) - 1))
        bit = 1 << data.draw(st.integers(0, 7))
        path.write_bytes(bytes([*whole[:position], whole[position] ^ bit, *whole[position + 1 :]]))
    else:
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert number_of(tmp_path) is None


def test_where_none_is_sound_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, 1)
    (tmp_path / "00000001.npz").write_bytes(b"")
    assert number_of(tmp_path) is None
    assert "no checkpoint is sound: training begins anew" in caplog.text


def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_half_written(tmp_path: Path) -> None:
    write(tmp_path, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        with pytest.raises(RunError, match=r"cannot be written .*File too large.* --resume"):
            write(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001.npz"]
    assert number_of(tmp_path) == 1
