"""The rows of a prediction: what is kept of them, and what goes on, after a stop anywhere."""

from __future__ import annotations

import csv
import fcntl
import io
from pathlib import Path

import pytest

from app.errors import ExportError
from app.exports.rows import Tally, batches_of, go_on, header, line, partial_of, unfinished

BATCH = 3
COLUMNS = header(["cat", 'dog, "small"'])
# Names that CSV has to quote, and one that is no text.
NAMES = ["a.jpg", "b,c.jpg", 'd"e.jpg', "f\ng.jpg", "h\ri.jpg", "é.jpg", "\udcff.jpg", "z.jpg"]
PATHS = [Path("photos") / name for name in NAMES]


def row(path: Path) -> str:
    error = "no image" if path.name[0] == "z" else ""
    return line([str(path), "" if error else "cat", "", error, "", ""])


WHOLE = (line(COLUMNS) + "".join(map(row, PATHS))).encode(errors="surrogateescape")


def finish(folder: Path, paths: list[Path], columns: list[str] = COLUMNS) -> tuple[Tally, int]:
    """Goes on to the end; returns what was there already, and how many were answered."""
    answered = 0
    with unfinished(folder / "partial", folder / "x.csv") as file:
        done, left = go_on(file, columns, iter(paths), BATCH)
        for path in left:
            file.write(row(path).encode(errors="surrogateescape"))
            answered += 1
    return done, answered


def test_any_name_can_be_read_back() -> None:
    text = io.StringIO(WHOLE.decode(errors="surrogateescape"), newline="")
    found = list(csv.reader(text))
    assert found[0] == COLUMNS
    assert [each[0] for each in found[1:]] == [str(path) for path in PATHS]


def test_lines_end_as_those_of_every_file_of_graft_do() -> None:
    assert line(["a", "b"]) == "a,b\n"


def test_a_prediction_stopped_at_any_byte_ends_in_the_same_bytes(tmp_path: Path) -> None:
    ends = [0, *(WHOLE.index(row(PATHS[n]).encode(errors="surrogateescape")) for n in (3, 6))]
    for cut in range(len(WHOLE) + 1):
        (tmp_path / "partial").write_bytes(WHOLE[:cut])
        done, answered = finish(tmp_path, PATHS)
        kept = 8 if cut == len(WHOLE) else BATCH * (sum(cut >= end for end in ends) - 1)
        assert (done.files, answered) == (kept, 8 - kept), f"cut at {cut}"
        assert done.unreadable == (kept == 8)
        assert (tmp_path / "x.csv").read_bytes() == WHOLE
        assert not (tmp_path / "partial").exists()


@pytest.mark.parametrize("tail", [b"\0" * 50, b"\0" * 50 + b"\n", b'"photos', b"\n", b"a,b\n"])
def test_what_a_power_cut_left_behind_is_cut_off(tail: bytes, tmp_path: Path) -> None:
    (tmp_path / "partial").write_bytes(WHOLE[: WHOLE.index(row(PATHS[3]).encode())] + tail)
    assert finish(tmp_path, PATHS) == (Tally(3, 0), 5)
    assert (tmp_path / "x.csv").read_bytes() == WHOLE


@pytest.mark.parametrize("paths", [PATHS[1:], [*PATHS[:2], Path("other.jpg")], PATHS[:4]])
def test_answers_of_other_files_are_refused_and_left_alone(
    paths: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "partial").write_bytes(WHOLE)
    with pytest.raises(ExportError, match=r"partial .*files.*: name the same files again"):
        finish(tmp_path, paths)
    assert (tmp_path / "partial").read_bytes() == WHOLE
    assert not (tmp_path / "x.csv").exists()


def test_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "partial").write_bytes(WHOLE)
    with pytest.raises(ExportError, match="has other columns: remove it"):
        finish(tmp_path, PATHS, header(["cat", "dog"]))


def test_an_error_leaves_what_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("of last week")

    def stopped() -> None:
        with unfinished(tmp_path / "partial", tmp_path / "x.csv") as file:
            file.write(WHOLE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert (tmp_path / "x.csv").read_text() == "of last week"
    assert (tmp_path / "partial").read_bytes() == WHOLE


def test_a_second_process_is_turned_away(tmp_path: Path) -> None:
    with (tmp_path / "partial").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ExportError, match="is being written by another process"):
            finish(tmp_path, PATHS)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    with pytest.raises(ExportError, match=r"partial cannot be written \(Is a directory\)"):
        finish(tmp_path, PATHS)


def test_answers_of_another_export_are_refused(tmp_path: Path) -> None:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_text(name)
    output = tmp_path / "[x].csv"
    partial_of(output, tmp_path / "1").touch()
    assert partial_of(output, tmp_path / "1").is_file()
    assert partial_of(tmp_path / "x.csv", tmp_path / "2").parent == tmp_path
    with pytest.raises(ExportError, match=r"partial was begun with another export than .*/2: go"):
        partial_of(output, tmp_path / "2")


def test_batches_divide_paths_in_order() -> None:
    assert list(batches_of(iter(PATHS), BATCH)) == [PATHS[:3], PATHS[3:6], PATHS[6:]]
    assert list(batches_of(iter(PATHS[:3]), BATCH)) == [PATHS[:3]]
