"""Some files of a source in place of all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from app.data.sampling import sample
from app.data.sources import File, Listing, list_images
from app.errors import DataError
from tests.making import make_folder


def listing(counts: dict[str, int], split: str = "") -> Listing:
    files = [
        File(Path(f"/{split}/{name}/{number}.jpg"), (name,), split)
        for name, count in counts.items()
        for number in range(count)
    ]
    return Listing(Path("/source"), tuple(counts), tuple(files))


def by_class(found: Listing) -> dict[str, int]:
    return dict(Counter(file.class_names[0] for file in found.files))


def test_each_class_has_two_and_its_share_of_the_rest() -> None:
    found = sample(listing({"a": 1002, "b": 502, "c": 2, "d": 1}), 307)
    assert by_class(found) == {"a": 202, "b": 102, "c": 2, "d": 1}


@pytest.mark.parametrize("most", [6, 7, 11, 20, 22, 23, 100])
def test_no_more_are_taken_than_asked_for_or_there(most: int) -> None:
    counts = {"a": 3, "b": 7, "c": 13}
    found = by_class(sample(listing(counts), most))
    assert sum(found.values()) == min(most, 23)
    assert all(2 <= found[name] <= counts[name] for name in counts)


def test_by_itself_it_takes_500_or_ten_of_each_class() -> None:
    few, many = {"a": 900, "b": 900}, {str(number): 12 for number in range(100)}
    assert by_class(sample(listing(few))) == {"a": 250, "b": 250}
    assert set(by_class(sample(listing(many))).values()) == {10}


def test_files_keep_their_order_and_follow_from_the_seed() -> None:
    source = listing({"a": 50, "b": 50})
    found = sample(source, 20)
    assert list(found.files) == [file for file in source.files if file in found.files]
    assert found == sample(source, 20)
    assert found != sample(source, 20, seed=1)
    assert found.class_names == source.class_names


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_what_is_kept_apart_for_the_test_is_not_looked_at(
    held_out: str, caplog: pytest.LogCaptureFixture
) -> None:
    train, other = listing({"a": 5, "b": 5}, "train"), listing({"a": 3, "b": 3}, held_out)
    both = Listing(train.root, train.class_names, train.files + other.files)
    with caplog.at_level("INFO", "graft"):
        assert sample(both, 100).files == train.files
    said = f"10 of 10 images are taken; 6 of its {held_out} split are kept apart"
    assert caplog.messages == [f"/source: {said}"]


def test_labels_play_no_part_where_an_image_carries_many(tmp_path: Path) -> None:
    make_folder(tmp_path, {"x": 9})
    rows = [f"x/{number}.png,{'a;b' if number else 'c'}" for number in range(9)]
    (tmp_path / "table.csv").write_text("\n".join(["path,labels", *rows]) + "\n")
    source = list_images(str(tmp_path / "table.csv"))
    assert source.many_labels
    assert len(sample(source, 3).files) == 3


@pytest.mark.parametrize("most", [-1, 0, 5])
def test_fewer_than_two_of_each_class_are_refused(most: int) -> None:
    said = f"^{most} images are too few to rank by: give --images 6 or more, for 2 of each class$"
    with pytest.raises(DataError, match=said):
        sample(listing({"a": 9, "b": 9, "c": 9}), most)


def test_a_source_with_a_test_split_alone_is_refused() -> None:
    with pytest.raises(DataError, match="no images outside its test split"):
        sample(listing({"a": 9, "b": 9}, "test"), 5)
