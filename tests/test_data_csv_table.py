"""A CSV file names images and what they show; what is wrong with it is said by the line."""

from __future__ import annotations

import codecs
import csv
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.data.csv_table import LONGEST_NAME, list_table
from app.data.sources import Listing, list_images
from app.errors import DataError
from tests.conftest import ROOT

quickly = settings(derandomize=True, deadline=None, max_examples=200)


def listed(folder: Path, text: str | bytes) -> Listing:
    path = folder / "labels.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list_images(str(path))


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        listed(folder, text)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder / "labels.csv") in message
    return message.replace(str(folder), "")


ONE = "path,class_name\na.jpg,cat\nb.jpg,dog\n"
MANY = "path,labels\na.jpg,cat\nb.jpg,dog;cat\nc.jpg,\n"


def test_column_class_name_gives_one_class_an_image(tmp_path: Path) -> None:
    listing = listed(tmp_path, ONE)
    assert not listing.many_labels
    assert listing.root == tmp_path / "labels.csv"
    assert listing.class_names == ("cat", "dog")
    assert [file.class_names for file in listing.files] == [("cat",), ("dog",)]
    assert {file.split for file in listing.files} == {""}
    assert listing.notes == ("one class an image: column 'class_name'",)


def test_column_label_is_understood_too(tmp_path: Path) -> None:
    listing = listed(tmp_path, ONE.replace("class_name", "label"))
    assert listing.class_names == ("cat", "dog")
    assert listing.notes == ("one class an image: column 'label'",)


def test_column_labels_gives_any_number_in_natural_order(tmp_path: Path) -> None:
    listing = listed(tmp_path, "path,labels\na.jpg,10;2\nb.jpg, 9 ; 10\nc.jpg,\nd.jpg,2;2\n")
    assert listing.many_labels
    assert listing.class_names == ("2", "9", "10")
    assert [file.class_names for file in listing.files] == [("2", "10"), ("9", "10"), (), ("2",)]
    assert listing.notes == ("many labels: column 'labels'", "images without any label: 1")


def test_paths_are_relative_to_the_file_or_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(tmp_path, f"path,label\nin/a b.jpg,cat\n{tmp_path}/elsewhere/ü.jpg,dog\n")
    monkeypatch.chdir(tmp_path)
    paths = [file.path for file in list_images("labels.csv").files]
    assert paths == [tmp_path / "in" / "a b.jpg", tmp_path / "elsewhere" / "ü.jpg"]


def test_ending_of_the_file_may_be_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "LABELS.CSV").write_text(ONE)
    assert list_images(str(tmp_path / "LABELS.CSV")).class_names == ("cat", "dog")


def test_split_column_is_kept_under_its_usual_names(tmp_path: Path) -> None:
    rows = [f"{number}.jpg,{name},{split}" for number, (name, split) in enumerate(SPLIT_ROWS)]
    listing = listed(tmp_path, "\n".join(["path,label,split", *rows]))
    assert [file.split for file in listing.files] == ["train", "validation", "validation", "test"]


SPLIT_ROWS = [("cat", "train"), ("dog", "val"), ("cat", " Valid"), ("dog", "TEST")]


def test_empty_split_column_is_as_none(tmp_path: Path) -> None:
    listing = listed(tmp_path, "path,label,split\na.jpg,cat,\nb.jpg,dog, \n")
    assert {file.split for file in listing.files} == {""}


def test_other_columns_are_passed_over_and_named(tmp_path: Path) -> None:
    listing = listed(tmp_path, 'id,path,label,by\n1,a.jpg,cat,"Ann\nB."\n2,b.jpg,dog,\n')
    assert listing.notes[1] == "columns passed over: 'id', 'by'"
    assert len(listing.files) == 2


def test_class_name_with_a_semicolon_is_one_and_said(tmp_path: Path) -> None:
    listing = listed(tmp_path, "path,label\na.jpg,cat;dog\nb.jpg,dog\n")
    assert listing.class_names == ("cat;dog", "dog")
    assert "many labels go into a column 'labels'" in listing.notes[1]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_byte_order_mark_line_ends_and_blank_lines_do_not_matter(tmp_path: Path, ends: str) -> None:
    text = ("\n" + MANY.replace("\n", "\n\n")).replace("\n", ends).encode()
    listing = listed(tmp_path, codecs.BOM_UTF8 + text)
    assert [file.class_names for file in listing.files] == [("cat",), ("cat", "dog"), ()]


def test_names_with_commas_and_quotation_marks_are_quoted(tmp_path: Path) -> None:
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        rows = [["path", "label"], ['a, "b".jpg', 'the "cat", old'], ["c.jpg", "猫"]]
        csv.writer(file).writerows(rows)
    listing = list_images(str(tmp_path / "labels.csv"))
    assert listing.class_names == ('the "cat", old', "猫")
    assert listing.files[0].path == tmp_path / 'a, "b".jpg'


def test_table_that_the_documentation_shows_is_understood(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "data.md").read_text()
    shown = page.split("```\n")[1]
    listing = listed(tmp_path, shown)
    assert listing.many_labels
    assert listing.class_names == ("heron", "water")
    assert [len(file.class_names) for file in listing.files] == [2, 1, 0]
    assert [file.split for file in listing.files] == ["train", "train", "test"]


REFUSED = {
    "no path": ("file,label\na.jpg,cat\n", "has no column 'path', but 'file', 'label': name them"),
    "no class": (
        "path,kind\na.jpg,cat\n",
        "no column 'class_name' or 'labels', but 'path', 'kind'",
    ),
    "semicolons between": ("path;label\na.jpg;cat\n", "but 'path;label': name them path and"),
    "class and labels": ("path,label,labels\na,b,c\n", "has the columns 'label', 'labels': keep"),
    "a column twice": ("path,label,label\na,b,c\n", "has two columns 'label': keep one"),
    "empty file": ("", "has no rows: write one an image"),
    "header only": ("path,label\n\n", "has no rows: write one an image"),
    "field missing": (f"{ONE}c.jpg\n", "line 4 has 1 fields, but there are 2 columns"),
    "field too many": (f"{ONE}c.jpg,cat,grey\n", "line 4 has 3 fields, but there are 2 columns"),
    "no path in row": (f"{ONE},cat\n", "line 4 has no path"),
    "no class in row": (f"{ONE}c.jpg, \n", "line 4 has no class_name: write a name"),
    "empty label": (f"{MANY}d.jpg,cat;\n", "line 5 has an empty name among its labels"),
    "only semicolon": (f"{MANY}d.jpg,;\n", "line 5 has an empty name among its labels"),
    "path twice": (f"{ONE}c.jpg,cat\nb.jpg,cat\n", "lines 3 and 5 are both about 'b.jpg': keep"),
    "path twice, other words": (f"{ONE}x/../a.jpg,cat\n", "lines 2 and 4 are both about 'x/../a"),
    "one class": ("path,label\na.jpg,cat\nb.jpg,cat\n", "in 'label', but here are only 'cat'"),
    "no labels": ("path,labels\na.jpg,\nb.jpg,\n", "in 'labels', but here are none"),
    "split missing": (
        "path,label,split\na.jpg,cat,train\nb.jpg,dog,\n",
        "line 3 has no split, but others have one",
    ),
    "unknown split": (
        "path,label,split\na.jpg,cat,train\nb.jpg,dog,dev\n",
        "line 3 has the split 'dev': write one of train, validation, val, valid, test",
    ),
    "no train": ("path,label,split\na.jpg,cat,test\nb.jpg,dog,val\n", "no row of the split train"),
    "not UTF-8": (ONE.encode() + b"c.jpg,caf\xe9\n", "line 4 is not UTF-8: save the file as"),
    "UTF-16": (ONE.encode("utf-16"), "line 1 is not UTF-8"),
    "open quotation": (f'{ONE}"c.jpg,cat\n', "line 4 is no CSV: unexpected end of data"),
    "stray quotation": (f'{ONE}"c".jpg,cat\n', "line 4 is no CSV"),
    "quotation over lines": (f'{ONE}"c.jpg,cat\nd.jpg,"dog\n', "line 5 is no CSV"),
    "line break in a name": (f'{ONE}c.jpg,"cat\ndog"\n', "line 5 has a line break or zero byte in"),
    "zero byte": (f"{ONE}c\0.jpg,cat\n", "line 4 has a line break or zero byte in 'path'"),
    "endless name": (
        f"{ONE}c.jpg,{'9' * 5000}\n",
        "line 4 has a name of 5000 characters in 'class",
    ),
    "endless field": (f"{ONE}{'c' * 200_000}.jpg,cat\n", "line 4 is no CSV: field larger than"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused_by_its_line(tmp_path: Path, what: str) -> None:
    text, says = REFUSED[what]
    assert says in refusal(tmp_path, text)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv does not exist"):
        list_images(str(tmp_path / "labels.csv"))


def test_longest_name_that_is_taken_is_that_of_a_folder(tmp_path: Path) -> None:
    listing = listed(tmp_path, f"path,label\na.jpg,{'x' * LONGEST_NAME}\nb.jpg,dog\n")
    assert [len(name) for name in listing.class_names] == [3, LONGEST_NAME]


@pytest.fixture(scope="module")
def any_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "labels.csv"


def answered(path: Path, contents: bytes) -> Listing | None:
    """Returns the listing, or nothing if it was refused in one line."""
    path.write_bytes(contents)
    try:
        return list_table(path)
    except DataError as error:
        refused = str(error)
    assert "\n" not in refused
    assert len(refused) < 2000
    return None


fields = st.text(st.sampled_from('a9;," \t\n\r\0é\ufeff\u2028train/.'), max_size=6)
rows = st.lists(st.lists(fields, min_size=2, max_size=3), max_size=5)


@quickly
@given(st.binary(max_size=80))
@example(b"\xef\xbb\xbf")
@example(b"path,label\na,b\n" + b"\x00" * 9)
def test_any_bytes_are_listed_or_refused(any_file: Path, contents: bytes) -> None:
    for header in (b"", b"path,label\n", b"path,labels,split\n"):
        answered(any_file, header + contents)


@quickly
@given(rows, st.sampled_from(["path,label", "labels,path", "path,split,labels"]))
def test_any_rows_are_listed_or_refused(any_file: Path, rows: list[list[str]], header: str) -> None:
    with any_file.open("w", encoding="utf-8", newline="") as file:
        file.write(f"{header}\n")
        csv.writer(file).writerows(rows)
    listing = answered(any_file, any_file.read_bytes())
    if listing is not None:
        assert len(listing.files) == len([row for row in rows if any(row)])
        shown = {name for file in listing.files for name in file.class_names}
        assert shown == set(listing.class_names)
        assert all(name == name.strip() != "" for name in shown)
        assert all(file.path.is_absolute() for file in listing.files)
        if not listing.many_labels:
            assert all(len(file.class_names) == 1 for file in listing.files)


label_sets = st.lists(
    st.lists(st.text("abc 1é,'\"", min_size=1, max_size=4).map(str.strip).filter(bool), max_size=4),
    min_size=2,
    max_size=8,
)


@quickly
@given(label_sets)
def test_labels_that_are_written_are_read(any_file: Path, labels: list[list[str]]) -> None:
    with any_file.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels"])
        writer.writerows([f"{n}.jpg", ";".join(names)] for n, names in enumerate(labels))
    known = {name for names in labels for name in names}
    listing = answered(any_file, any_file.read_bytes())
    assert (listing is None) == (len(known) < 2)
    if listing is not None:
        assert [set(file.class_names) for file in listing.files] == [set(n) for n in labels]
