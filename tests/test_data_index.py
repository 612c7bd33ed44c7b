"""Every file is looked at once: what is no image is named, what is one is divided."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from app.data.index import (
    Image,
    Index,
    build_index,
    fingerprint,
    read_index,
    summary,
    write_index,
)
from app.data.looking import hash_of
from app.data.sources import File, Listing, list_folder
from app.data.splits import SPLITS
from app.errors import DataError
from tests.making import make_folder, make_image


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, logger="graft"):
        yield caplog


def index_of(root: Path, seed: int = 0, validation: float = 0.2, test: float = 0.2) -> Index:
    return build_index(list_folder(root), validation, test, seed)


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        index_of(root)
    message = str(caught.value)
    assert "\n" not in message
    return message


def sizes(index: Index) -> dict[str, int]:
    return dict(Counter(image.split for image in index.images))


def parents(index: Index, split: str) -> set[str]:
    return {image.path.parent.parent.name for image in index.split(split)}


def test_image_is_described_as_it_is_stored(tmp_path: Path) -> None:
    make_folder(tmp_path, {"cat": 2, "dog": 3})
    path = make_image(tmp_path / "cat" / "wide.bmp", seed=1, width=21, height=5)
    image = next(i for i in index_of(tmp_path).images if i.path == path)
    assert (image.height, image.width) == (5, 21)
    assert image.class_name == "cat"
    assert image.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_key_of_an_image_follows_from_its_bytes_and_fits_into_int64(tmp_path: Path) -> None:
    keys = set()
    for seed in range(20):
        paths = [make_image(tmp_path / name / f"{seed}.png", seed=seed) for name in "ab"]
        shown = [Image(path, ("a",), "train", hash_of(path), 9, 13) for path in paths]
        first = hashlib.sha256(paths[0].read_bytes()).digest()[:8]
        assert shown[0].key == shown[1].key == int.from_bytes(first) % 2**63
        keys.add(np.int64(shown[0].key))
    assert len(keys) == 20


def test_images_keep_the_order_of_the_source(tmp_path: Path) -> None:
    listing = list_folder(make_folder(tmp_path, {"2": 12, "10": 12}))
    index = build_index(listing, 0.2, 0.2, 0)
    assert [image.path for image in index.images] == [file.path for file in listing.files]


def test_classes_are_counted_in_natural_order_in_each_split(tmp_path: Path) -> None:
    for split, counts in {"train": (5, 3), "val": (1, 2), "test": (0, 4)}.items():
        make_folder(tmp_path / split, dict(zip(("10", "2"), counts, strict=True)))
    index = index_of(tmp_path)
    assert index.class_names == ("2", "10")
    assert [index.class_counts(split) for split in SPLITS] == [(3, 5), (2, 1), (4, 0)]


def test_folder_without_splits_is_divided_by_class_and_seed(tmp_path: Path) -> None:
    make_folder(tmp_path, {"cat": 20, "dog": 10})
    index = index_of(tmp_path)
    found = Counter((image.class_name, image.split) for image in index.images)
    assert found == {
        ("cat", "train"): 12,
        ("cat", "validation"): 4,
        ("cat", "test"): 4,
        ("dog", "train"): 6,
        ("dog", "validation"): 2,
        ("dog", "test"): 2,
    }
    assert index_of(tmp_path) == index
    assert index_of(tmp_path, seed=1) != index


def test_identical_bytes_stay_in_one_split_whatever_their_names(tmp_path: Path) -> None:
    make_folder(tmp_path, {"cat": 8, "dog": 8})
    for number in range(8):
        shutil.copy(tmp_path / "cat" / f"{number}.png", tmp_path / "cat" / f"copy {number}.png")
    for number in range(4):
        shutil.copy(tmp_path / "dog" / f"{number}.png", tmp_path / "cat" / f"dog {number}.png")
    parts: dict[str, set[str]] = {}
    for image in index_of(tmp_path).images:
        parts.setdefault(image.sha256, set()).add(image.split)
    assert len(parts) == 16
    assert all(len(met) == 1 for met in parts.values())


def test_published_splits_are_kept(tmp_path: Path) -> None:
    for split, count in {"train": 4, "valid": 2, "test": 3}.items():
        make_folder(tmp_path / split, {"cat": count, "dog": count})
    index = index_of(tmp_path)
    assert sizes(index) == {"train": 8, "validation": 4, "test": 6}
    assert parents(index, "train") == {"train"}
    assert parents(index, "validation") == {"valid"}
    assert parents(index, "test") == {"test"}


def test_published_validation_without_test_becomes_the_test_split(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    make_folder(tmp_path / "train", {"cat": 10, "dog": 10})
    make_folder(tmp_path / "val", {"cat": 3, "dog": 3})
    index = index_of(tmp_path)
    assert sizes(index) == {"train": 16, "validation": 4, "test": 6}
    assert parents(index, "test") == {"val"}
    assert parents(index, "validation") == {"train"}
    assert "kept apart as the test split" in log.text
    assert "20 % of train is taken" in log.text


def test_published_test_without_validation_is_kept_and_validation_taken_from_train(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    make_folder(tmp_path / "train", {"cat": 10, "dog": 10})
    make_folder(tmp_path / "test", {"cat": 3, "dog": 3})
    index = index_of(tmp_path)
    assert sizes(index) == {"train": 16, "validation": 4, "test": 6}
    assert parents(index, "test") == {"test"}
    assert parents(index, "validation") == {"train"}
    assert "20 % of train is taken, by seed 0" in log.text
    assert "kept apart" not in log.text


def test_train_folder_alone_is_divided_in_three(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", {"cat": 10, "dog": 10})
    assert sizes(index_of(tmp_path)) == {"train": 12, "validation": 4, "test": 4}


def test_image_in_two_published_splits_is_said(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    for split in ("train", "val", "test"):
        make_folder(tmp_path / split, {"cat": 3, "dog": 3})
    shutil.copy(tmp_path / "train/cat/0.png", tmp_path / "test/cat/other name.png")
    shutil.copy(tmp_path / "val/dog/1.png", tmp_path / "test/dog/another name.png")
    index_of(tmp_path)
    assert "same images in two splits: 1 in train and test" in log.text
    assert "same images in two splits: 1 in validation and test" in log.text
    assert "in train and validation" not in log.text


def test_class_that_a_published_split_cannot_measure_is_said(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    make_folder(tmp_path / "train", {"cat": 3, "dog": 3})
    make_folder(tmp_path / "val", {"cat": 3, "dog": 3})
    make_folder(tmp_path / "test", {"cat": 3})
    index_of(tmp_path)
    assert "the test split has no image of: dog" in log.text
    assert "the validation split has no" not in log.text


def test_class_without_training_images_is_refused(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        make_folder(tmp_path / split, {"cat": 3, "dog": 3})
    make_folder(tmp_path / "test", {"newt": 3})
    message = refusal(tmp_path)
    assert "'newt' has no readable image to train on" in message
    assert str(tmp_path) in message


def test_class_of_two_images_is_refused(tmp_path: Path) -> None:
    message = refusal(make_folder(tmp_path, {"cat": 9, "newt": 2}))
    assert "class 'newt' has 2 different images" in message
    assert "add some" in message


def test_what_was_left_out_of_the_listing_is_logged(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    for split in ("train", "test", "holdout"):
        make_folder(tmp_path / split, {"cat": 3, "dog": 3, "newt": 0})
    index_of(tmp_path)
    assert "no split (train, validation, test): holdout" in log.text
    assert "they are empty: test/newt, train/newt" in log.text.replace("\\", "/")


def text_file(path: Path) -> Path:
    path.write_text("not an image, whatever the name says")
    return path


def truncated(path: Path) -> Path:
    buffer = io.BytesIO()
    Picture.effect_noise((64, 64), 90).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[:900])
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def broken_link(path: Path) -> Path:
    path.symlink_to("gone.jpg")
    return path


def link_to_itself(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


def without_permission(path: Path) -> Path:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    make_image(path).chmod(0)
    return path


UNREADABLE = {
    text_file: "",
    truncated: "",
    empty: "empty file",
    broken_link: "No such file or directory",
    link_to_itself: "Too many levels of symbolic links",
    without_permission: "Permission denied",
}


@pytest.mark.parametrize("make", UNREADABLE, ids=lambda make: make.__name__)
def test_unreadable_file_is_left_out_named_and_counted(
    tmp_path: Path, log: pytest.LogCaptureFixture, make: object
) -> None:
    make_folder(tmp_path, {"cat": 10, "dog": 10})
    path = make(tmp_path / "cat" / "bad one.jpg")
    index = index_of(tmp_path)
    assert len(index.images) == 20
    assert [left_out for left_out, _ in index.unreadable] == [path]
    reason = index.unreadable[0][1]
    assert reason
    assert UNREADABLE[make] in reason
    assert f"left out: {path} ({reason})" in log.text
    assert "{{" not in reason
    assert "[Op:" not in reason
    assert summary(index).endswith("; 1 unreadable left out")


def test_name_that_is_not_utf8_is_left_out_and_named(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    make_folder(tmp_path, {"cat": 10, "dog": 10})
    path = tmp_path / "cat" / os.fsdecode(b"caf\xe9.png")
    try:
        make_image(tmp_path / "cat" / "new.png").rename(path)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    index = index_of(tmp_path)
    assert index.unreadable == ((path, "its name is not UTF-8: rename it"),)
    assert r"caf\xe9.png (its name is not UTF-8" in log.text
    assert log.text.encode()


def test_one_unreadable_file_in_ten_is_left_out_and_more_stop(tmp_path: Path) -> None:
    make_folder(tmp_path, {"cat": 9, "dog": 9})
    empty(tmp_path / "cat" / "a.jpg")
    empty(tmp_path / "cat" / "b.jpg")
    assert len(index_of(tmp_path).unreadable) == 2
    empty(tmp_path / "dog" / "c.jpg")
    message = refusal(tmp_path)
    assert f"3 of 21 files in {tmp_path}" in message
    assert f"{tmp_path / 'cat' / 'a.jpg'} (empty file)" in message
    assert "more than 10 %" in message


def test_unreadable_files_do_not_count_for_a_class(tmp_path: Path) -> None:
    make_folder(tmp_path, {"cat": 30, "dog": 2})
    truncated(tmp_path / "dog" / "third.jpg")
    assert "'dog' has 2 different images" in refusal(tmp_path)


def test_every_known_format_counts_as_an_image(tmp_path: Path) -> None:
    make_folder(tmp_path, {"cat": 3, "dog": 3})
    for ending in ("jpg", "JPEG", "PNG", "gif", "bmp", "webp"):
        make_image(tmp_path / "cat" / f"fern leaf ü.{ending}")
    index = index_of(tmp_path)
    assert len(index.images) == 12
    assert index.unreadable == ()


def test_wrong_ending_does_not_matter(tmp_path: Path) -> None:
    make_folder(tmp_path, {"cat": 3, "dog": 3})
    make_image(tmp_path / "cat" / "a.png").rename(tmp_path / "cat" / "a.jpg")
    make_image(tmp_path / "cat" / "b.png").rename(tmp_path / "cat" / "b")
    assert len(index_of(tmp_path).images) == 8


def test_summary_counts_images_classes_and_splits(tmp_path: Path) -> None:
    index = index_of(make_folder(tmp_path, {"cat": 10, "dog": 10}))
    assert summary(index) == "20 images of 2 classes: train 12, validation 4, test 4"


def test_fingerprint_is_that_of_contents_classes_and_splits(tmp_path: Path) -> None:
    index = index_of(make_folder(tmp_path / "here", {"cat": 5, "dog": 5}))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    (tmp_path / "there/cat/0.png").rename(tmp_path / "there/cat/renamed.png")
    assert fingerprint(index_of(tmp_path / "there")) == fingerprint(index)

    def changed(**change: str | tuple[str, ...]) -> Index:
        return replace(index, images=(replace(index.images[0], **change), *index.images[1:]))

    others = [changed(class_names=("dog",)), changed(sha256="0" * 64), changed(split="?")]
    others.append(replace(index, images=index.images[1:]))
    others += [changed(class_names=("cat", "dog")), replace(index, many_labels=True)]
    assert len({fingerprint(each) for each in [index, *others]}) == 7


def test_fingerprint_of_one_class_an_image_stays_what_it_was_in_earlier_versions() -> None:
    whole = fingerprint(Index(("cat", "dog"), tuple(SOME), ()))
    rows = sorted(f"{n:064x} {c} {s}" for c in ("cat", "dog") for n, s in enumerate(SPLITS))
    assert whole == hashlib.sha256("\n".join(rows).encode()).hexdigest()


def test_written_index_is_read_back_unchanged(tmp_path: Path) -> None:
    make_folder(tmp_path / "photos", {'quo"te, comma': 3, "fern\nleaf": 3, "猫": 3, "a;b": 3})
    index = index_of(tmp_path / "photos")
    write_index(index, tmp_path / "splits.csv")
    assert read_index(tmp_path / "splits.csv", index.class_names) == index


def labelled(root: Path, labels: list[tuple[str, ...]], split: str = "") -> Listing:
    """Writes an image for each of these, and lists them as a source would."""
    files = tuple(
        File(make_image(root / f"{number}.png", seed=number), names, split)
        for number, names in enumerate(labels)
    )
    names = sorted({name for each in labels for name in each})
    return Listing(root, tuple(names), files, (), many_labels=True)


LABELS = [("red",), ("red", "round"), (), ("round",), ("blue", "red", "round")] * 6


def test_index_of_many_labels_is_divided_summed_up_and_read_back(tmp_path: Path) -> None:
    index = build_index(labelled(tmp_path, LABELS), 0.2, 0.2, 0)
    assert index.many_labels
    assert [image.class_names for image in index.images] == LABELS
    assert sum(index.class_counts(split)[1] for split in SPLITS) == 18  # red
    assert all(all(index.class_counts(split)) for split in SPLITS)
    assert summary(index).startswith("30 images with any of 3 labels: train 18, validation 6,")
    write_index(index, tmp_path / "splits.csv")
    assert ",blue;red;round," in (tmp_path / "splits.csv").read_text()
    assert read_index(tmp_path / "splits.csv", index.class_names, many_labels=True) == index


def test_label_without_training_images_is_refused(tmp_path: Path) -> None:
    listing = labelled(tmp_path, LABELS[:5], "train")
    late = File(make_image(tmp_path / "late.png"), ("square",), "test")
    other = File(make_image(tmp_path / "other.png"), (), "validation")
    names = (*listing.class_names, "square")
    with pytest.raises(DataError, match="'square' has no readable image to train on"):
        build_index(
            replace(listing, files=(*listing.files, late, other), class_names=names), 0.2, 0.2, 0
        )


def test_index_of_other_labels_is_refused(tmp_path: Path) -> None:
    index = build_index(labelled(tmp_path, LABELS), 0.2, 0.2, 0)
    write_index(index, tmp_path / "splits.csv")
    for names, many in ((("blue", "red"), True), (index.class_names, False)):
        with pytest.raises(DataError, match="does not hold the classes"):
            read_index(tmp_path / "splits.csv", names, many)


def written(folder: Path) -> str:
    path = folder / "splits.csv"
    index = Index(("cat", "dog"), tuple(SOME), ())
    write_index(index, path)
    return path.read_text()


SOME = [
    Image(Path(f"photos/{name}/{number}.jpg"), (name,), part, f"{number:064x}", 30, 40)
    for name in ("cat", "dog")
    for number, part in enumerate(("train", "validation", "test"))
]


def test_index_is_read_without_its_images(tmp_path: Path) -> None:
    written(tmp_path)
    assert read_index(tmp_path / "splits.csv", ["cat", "dog"]).images == tuple(SOME)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text.splitlines()[0],
        lambda text: text[:-20],
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("sha256", "md5"),
        lambda text: text.replace(",30,", ",tall,"),
        lambda text: text.replace(",validation,", ",val,"),
        lambda text: text.replace(",cat,", ",lion,"),
        lambda text: text.replace("\n", "\r", 3).replace("photos", '"', 1),
        lambda text: text + "x" * 200_000,
    ],
)
def test_damaged_index_is_refused(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "splits.csv"
    path.write_text(damage(written(tmp_path)), newline="")
    with pytest.raises(DataError, match=r"splits\.csv"):
        read_index(path, ["cat", "dog"])


def test_index_that_is_no_text_is_refused(tmp_path: Path) -> None:
    make_image(tmp_path / "splits.png").rename(tmp_path / "splits.csv")
    with pytest.raises(DataError, match=r"splits\.csv cannot be read"):
        read_index(tmp_path / "splits.csv", ["cat", "dog"])


def test_missing_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"splits\.csv cannot be read"):
        read_index(tmp_path / "splits.csv", ["cat", "dog"])
