"""A source is a folder of class folders, listed in an order that people expect."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.data.sources import Listing, list_folder, list_images, list_unlabelled, natural_order
from app.errors import DataError
from tests.making import make_folder, make_image


def found(listing: Listing) -> list[str]:
    return [file.path.relative_to(listing.root).as_posix() for file in listing.files]


def refusal(source: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        list_images(str(source))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_each_sub_folder_is_a_class_and_each_file_an_image(tmp_path: Path) -> None:
    listing = list_images(str(make_folder(tmp_path, {"cat": 2, "dog": 1})))
    assert listing.class_names == ("cat", "dog")
    assert found(listing) == ["cat/0.png", "cat/1.png", "dog/0.png"]
    assert [file.class_names for file in listing.files] == [("cat",), ("cat",), ("dog",)]
    assert {file.split for file in listing.files} == {""}
    assert listing.notes == ()


def test_class_names_and_files_count_numbers_as_people_do(tmp_path: Path) -> None:
    listing = list_folder(make_folder(tmp_path, {"10": 12, "9": 1, "2": 1, "b1": 1, "A1": 1}))
    assert listing.class_names == ("2", "9", "10", "A1", "b1")
    tens = [Path(name).stem for name in found(listing) if name.startswith("10/")]
    assert tens == [str(number) for number in range(12)]


@pytest.mark.parametrize(
    "names",
    [
        ["2", "10"],
        ["img2", "img10", "img10b"],
        ["01", "1", "2"],
        ["Apple", "banana", "Cherry"],
        ["a1b2", "a1b10", "a2b1"],
        ["9" * 200, "1" + "0" * 200],
        ["\N{ARABIC-INDIC DIGIT ONE}", "2"],
    ],
)
def test_natural_order_sorts(names: list[str]) -> None:
    backwards = names[::-1]
    assert sorted(backwards, key=natural_order) == names


def test_names_that_differ_only_in_case_have_a_fixed_order() -> None:
    assert sorted(["cat", "Cat"], key=natural_order) == sorted(["Cat", "cat"], key=natural_order)


@pytest.mark.parametrize("validation", ["validation", "val", "valid", "Val"])
def test_split_folders_are_known_by_their_usual_names(tmp_path: Path, validation: str) -> None:
    for split in ("train", validation, "test"):
        make_folder(tmp_path / split, {"cat": 1, "dog": 1})
    listing = list_folder(tmp_path)
    assert listing.class_names == ("cat", "dog")
    splits = {file.path.parent.parent.name: file.split for file in listing.files}
    assert splits == {"train": "train", validation: "validation", "test": "test"}
    assert len(listing.files) == 6


def test_folder_beside_the_splits_is_left_out_and_named(tmp_path: Path) -> None:
    for split in ("train", "test", "holdout"):
        make_folder(tmp_path / split, {"cat": 1, "dog": 1})
    listing = list_folder(tmp_path)
    assert not any("holdout" in name for name in found(listing))
    assert listing.notes == (
        "left out, since they are no split (train, validation, test): holdout",
    )


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    for split in ("train", "val", "valid"):
        make_folder(tmp_path / split, {"cat": 1, "dog": 1})
    message = refusal(tmp_path)
    assert "val, valid" in message
    assert "keep one" in message


def test_split_folders_without_train_are_not_taken_for_classes(tmp_path: Path) -> None:
    for split in ("val", "test"):
        make_folder(tmp_path / split, {"cat": 1, "dog": 1})
    message = refusal(tmp_path)
    assert "test and val, but no train folder" in message


def test_flat_split_folders_are_not_taken_for_classes(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 2, "test": 2})
    assert "no images in class folders" in refusal(tmp_path)


@pytest.mark.parametrize("names", [("car", "train"), ("invalid", "valid")])
def test_class_may_be_called_like_a_split(tmp_path: Path, names: tuple[str, str]) -> None:
    listing = list_folder(make_folder(tmp_path, dict.fromkeys(names, 1)))
    assert listing.class_names == names


def test_empty_class_folder_is_left_out_and_named(tmp_path: Path) -> None:
    make_folder(tmp_path, {"cat": 1, "dog": 1, "newt": 0})
    (tmp_path / "newt" / ".hidden").touch()
    listing = list_folder(tmp_path)
    assert listing.class_names == ("cat", "dog")
    assert listing.notes == ("left out, since they are empty: newt",)


def test_empty_class_folder_in_a_split_is_left_out_and_named(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", {"cat": 1, "dog": 1, "newt": 0})
    make_folder(tmp_path / "test", {"cat": 1, "dog": 1, "newt": 0})
    listing = list_folder(tmp_path)
    assert listing.class_names == ("cat", "dog")
    assert listing.notes == (
        f"left out, since they are empty: {Path('test/newt')}, {Path('train/newt')}",
    )


def test_folder_set_aside_by_an_underscore_is_named(tmp_path: Path) -> None:
    listing = list_folder(make_folder(tmp_path, {"cat": 1, "dog": 1, "_old": 1}))
    assert listing.class_names == ("cat", "dog")
    assert listing.notes == ("left out, since their names begin with '_': _old",)


def test_litter_and_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    make_folder(tmp_path, {"cat": 1, "dog": 1, ".git": 1})
    for name in (".DS_Store", "._0.png", "Thumbs.db", "thumbs.db", "desktop.ini", "Icon\r"):
        (tmp_path / "cat" / name).touch()
    make_image(tmp_path / "cat" / ".ipynb_checkpoints" / "0-checkpoint.png")
    listing = list_folder(tmp_path)
    assert found(listing) == ["cat/0.png", "dog/0.png"]
    assert listing.notes == ()


def test_folders_inside_a_class_belong_to_it(tmp_path: Path) -> None:
    make_folder(tmp_path, {"cat": 1, "dog": 1})
    make_image(tmp_path / "cat" / "2020" / "may" / "x.png")
    listing = list_folder(tmp_path)
    assert found(listing) == ["cat/0.png", "cat/2020/may/x.png", "dog/0.png"]
    assert [file.class_names for file in listing.files] == [("cat",), ("cat",), ("dog",)]


def test_spaces_other_scripts_and_upper_case_endings_are_listed(tmp_path: Path) -> None:
    for name in ("fern leaf/my photo 1.JPG", "猫/é, ü.Png", "dog;x/#1%20.jpeg"):
        make_image(tmp_path / name)
    listing = list_folder(tmp_path)
    assert listing.class_names == ("dog;x", "fern leaf", "猫")
    assert found(listing) == ["dog;x/#1%20.jpeg", "fern leaf/my photo 1.JPG", "猫/é, ü.Png"]


@pytest.mark.parametrize("link", ["loop", "cat/loop", "cat/deep/loop"])
def test_link_back_up_repeats_no_file(tmp_path: Path, link: str) -> None:
    make_folder(tmp_path, {"cat": 2, "dog": 1, "cat/deep": 1})
    (tmp_path / link).symlink_to(tmp_path, target_is_directory=True)
    listing = list_folder(tmp_path)
    assert found(listing) == ["cat/0.png", "cat/1.png", "cat/deep/0.png", "dog/0.png"]


def test_link_back_up_inside_a_split_repeats_no_file(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", {"cat": 2, "dog": 1})
    (tmp_path / "train" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert found(list_folder(tmp_path)) == ["train/cat/0.png", "train/cat/1.png", "train/dog/0.png"]


def test_class_folder_may_be_a_link_to_elsewhere(tmp_path: Path) -> None:
    make_folder(tmp_path / "elsewhere", {"pets": 2})
    make_folder(tmp_path / "photos", {"cat": 1})
    (tmp_path / "photos" / "dog").symlink_to(tmp_path / "elsewhere" / "pets")
    assert found(list_folder(tmp_path / "photos")) == ["cat/0.png", "dog/0.png", "dog/1.png"]


def test_source_may_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    make_folder(tmp_path / "photos", {"cat": 1, "dog": 1})
    assert list_images("~/photos").root == tmp_path / "photos"


def test_no_source_says_how_to_name_one() -> None:
    assert "--data.source" in refusal("")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in message
    assert "does not exist" in message
    assert "one sub-folder a class" in message


def test_source_that_is_a_file_is_named(tmp_path: Path) -> None:
    path = make_image(tmp_path / "cat.png")
    message = refusal(path)
    assert str(path) in message
    assert "is a file" in message
    assert ".csv" in message


def test_folder_may_be_called_like_a_table(tmp_path: Path) -> None:
    listing = list_images(str(make_folder(tmp_path / "photos.csv", {"cat": 1, "dog": 1})))
    assert found(listing) == ["cat/0.png", "dog/0.png"]
    assert not listing.many_labels


@pytest.mark.parametrize("beside", [[], ["loose.png"]])
def test_folder_without_class_folders_says_how_to_lay_it_out(
    tmp_path: Path, beside: list[str]
) -> None:
    for name in beside:
        make_image(tmp_path / name)
    message = refusal(tmp_path)
    assert "no images in class folders" in message
    assert str(tmp_path / "cat") in message


def test_single_class_is_refused(tmp_path: Path) -> None:
    message = refusal(make_folder(tmp_path, {"cat": 5, "dog": 0}))
    assert "one class only, 'cat'" in message
    assert "another class" in message


@pytest.mark.parametrize(
    "source", ["x" * 300, "a\0b", "~nobody-of-this-name/x", "x" * 300 + ".csv", "a\0b.csv"]
)
def test_source_that_can_be_no_folder_is_refused(source: str) -> None:
    assert source[:40] in refusal(source)


@pytest.mark.parametrize("unreadable", ["", "cat", "cat/deep", "train"])
def test_folder_that_cannot_be_read_is_named_and_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreadable: str
) -> None:
    make_folder(tmp_path, {"cat/deep": 1, "dog": 1, "train/cat": 1})
    denied, scandir, listdir = tmp_path / unreadable, os.scandir, os.listdir

    # Permissions would not keep out root, who runs tests in containers.
    def refuse(call, path):
        if Path(path) == denied:
            raise PermissionError(13, "Permission denied", str(path))
        return call(path)

    monkeypatch.setattr(os, "scandir", lambda path: refuse(scandir, path))
    monkeypatch.setattr(os, "listdir", lambda path: refuse(listdir, path))
    if unreadable.startswith("cat"):
        (tmp_path / "train").rename(tmp_path / "fox")
    message = refusal(tmp_path)
    assert f"{denied} cannot be read: Permission denied" in message
    with pytest.raises(DataError, match=f"{denied} cannot be read: Permission denied"):
        list_unlabelled(str(tmp_path))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_folder_without_permission_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path / "photos", {"cat": 1, "dog": 1})
    (tmp_path / "photos").chmod(0)
    try:
        assert "cannot be read: Permission denied" in refusal(tmp_path / "photos")
    finally:
        (tmp_path / "photos").chmod(0o700)


@pytest.mark.parametrize("split", ["", "train"])
def test_images_beside_the_class_folders_are_counted_and_left_out(
    tmp_path: Path, split: str
) -> None:
    make_folder(tmp_path / split, {"cat": 2, "dog": 2})
    for name in ("loose.png", "stray.JPG", "notes.txt", ".hidden.png"):
        (tmp_path / split / name).write_bytes(b"")
    listing = list_images(str(tmp_path))
    assert len(listing.files) == 4
    assert listing.notes == ("left out, since they are in no class folder: 2 files",)


def test_files_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "photos", {"cat": 1, "dog": 1})
    monkeypatch.chdir(tmp_path)
    assert all(file.path.is_absolute() for file in list_images("photos").files)


def test_without_labels_what_is_for_testing_is_left_alone_where_the_source_says_so(
    tmp_path: Path,
) -> None:
    make_folder(tmp_path, {"cat": 3})
    table = tmp_path / "some.csv"
    rows = ["path,class_name,split", "cat/0.png,cat,train", "cat/1.png,cat,test"]
    table.write_text("\n".join([*rows, "cat/2.png,dog,validation"]) + "\n")
    assert [file.path.name for file in list_unlabelled(str(table)).files] == ["0.png", "2.png"]
    assert len(list_unlabelled(str(tmp_path)).files) == 3  # of a folder every image counts
