from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.errors import ExportError
from app.exports import places
from app.exports.places import find_files, fingerprint, latest_version, next_version


def make_export(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    return folder


def test_the_first_version_is_1(tmp_path: Path) -> None:
    assert next_version(tmp_path / "none") == next_version(tmp_path) == 1


def test_the_next_version_follows_the_highest_as_a_number(tmp_path: Path) -> None:
    for name in ("2", "10", "x", ".partial-7-11", "12b"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 11


def test_the_latest_version_is_the_highest_that_holds_a_model(tmp_path: Path) -> None:
    make_export(tmp_path / "2")
    ten = make_export(tmp_path / "10")
    (tmp_path / "11").mkdir()
    make_export(tmp_path / "best")
    assert latest_version(tmp_path) == ten


def test_a_version_may_be_named_itself(tmp_path: Path) -> None:
    two = make_export(tmp_path / "2")
    make_export(tmp_path / "3")
    assert latest_version(two) == two


def test_a_folder_without_an_export_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="holds no SavedModel; `graft export RUN` prints"):
        latest_version(tmp_path)
    with pytest.raises(ExportError, match="none does not exist; `graft export RUN` prints"):
        latest_version(tmp_path / "none")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_folders_are_searched_in_order_and_hidden_files_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.jpg", "b/1.jpg", "a/deep/3.jpg", "a/.DS_Store", "a/.cache/4.jpg")
    found = find_files([str(tmp_path / "b"), str(tmp_path / "a")])
    names = [each.relative_to(tmp_path).as_posix() for each in found]
    assert names == ["b/1.jpg", "b/2.jpg", "a/deep/3.jpg"]


def test_a_file_named_twice_is_listed_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    file, folder = str(tmp_path / "a" / "1.jpg"), str(tmp_path)
    for names in ([file, folder], [folder, file], [folder, str(tmp_path / "a")], [file, file]):
        assert list(find_files(names)) == [tmp_path / "a" / "1.jpg"]


def test_what_is_named_is_kept_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, ".hidden.jpg", "~nobody.jpg", ".folder/1.jpg")
    (tmp_path / "empty").mkdir()
    names = [".hidden.jpg", "~nobody.jpg", "missing.jpg", "empty"]
    assert list(find_files(names)) == [Path(name) for name in names]
    assert list(find_files([".folder"])) == [Path(".folder/1.jpg")]


def test_a_name_that_is_no_text_is_found(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    Path(name).touch()
    assert list(find_files([str(tmp_path)])) == [Path(name)]


def test_a_hidden_file_named_after_its_folder_is_listed(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", ".2.jpg")
    hidden = tmp_path / ".2.jpg"
    assert list(find_files([str(tmp_path), str(hidden)])) == [tmp_path / "1.jpg", hidden]


def test_a_link_inside_a_folder_is_not_followed_but_may_be_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "2.jpg").symlink_to("1.jpg")
    own = [tmp_path / "a" / "1.jpg", tmp_path / "a" / "2.jpg"]
    assert list(find_files([str(tmp_path / "a")])) == own
    both = list(find_files([str(tmp_path / "a"), str(tmp_path / "a" / "up" / "a")]))
    assert both == [*own, *(tmp_path / "a" / "up" / "a" / name for name in ("1.jpg", "2.jpg"))]


@pytest.mark.parametrize("page", [1, 3, 4, 100])
def test_a_folder_is_sorted_page_by_page_as_at_once(
    page: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}/{letter}.jpg" for number in range(7) for letter in "dacb"]
    touch(tmp_path, *names, "0.jpg", "z.jpg", "é.jpg")
    monkeypatch.setattr(places, "PAGE", page)
    found = list(find_files([str(tmp_path)]))
    assert found == sorted(each for each in tmp_path.rglob("*") if each.is_file())


def test_the_files_of_a_folder_are_listed_as_they_are_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2/1.jpg")
    found = find_files([str(tmp_path)])
    assert next(found) == tmp_path / "1.jpg"
    touch(tmp_path, "2/2.jpg")
    assert list(found) == [tmp_path / "2" / "1.jpg", tmp_path / "2" / "2.jpg"]


def test_a_fingerprint_follows_from_what_an_export_holds(tmp_path: Path) -> None:
    one, other = make_export(tmp_path / "1"), make_export(tmp_path / "copies" / "2")
    same = fingerprint(one)
    assert same == fingerprint(other)
    assert len(same) == 12
    touch(other, "variables/variables.index")
    renamed = fingerprint(other)
    (other / "variables" / "variables.index").write_text("1")
    assert len({same, renamed, fingerprint(other)}) == 3
