"""Every image file looked at once, before anything is trained on it."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import logging
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from app.data.looking import Seen, hash_of, look_at
from app.data.sources import SEPARATOR, File, Listing
from app.data.splits import SPLITS, split, split_many_labels
from app.errors import DataError
from app.files import write_whole

# More than this share of unreadable files means that something larger is wrong.
MOST_UNREADABLE = 0.10
_KEY_BITS = (1 << 63) - 1  # as many as an int64 holds
_COLUMNS = ("path", "class_name", "split", "sha256", "height", "width")
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Image:
    """An image that can be read.

    Attributes:
        path: Where its file lies.
        class_names: What it shows: one class, or any number of labels in natural order.
        split: `train`, `validation` or `test`.
        sha256: Of the file's bytes, hexadecimal.
        height: Pixels, as stored, before it is turned upright.
        width: Pixels, as stored.
    """

    path: Path
    class_names: tuple[str, ...]
    split: str
    sha256: str
    height: int
    width: int

    @property
    def class_name(self) -> str:
        """The one class, or all labels with `;` between them, as it is written down."""
        return SEPARATOR.join(self.class_names)

    @property
    def key(self) -> int:
        """What its contents are known by, wherever the file lies: 63 bits of their hash."""
        return int(self.sha256[:16], 16) & _KEY_BITS


@dataclass(frozen=True)
class Index:
    """All images of a run.

    Attributes:
        class_names: In natural order; a label is a position in it.
        images: Every readable image, in the order of the source.
        unreadable: Path and reason of each file that was left out.
        many_labels: Whether an image carries any number of labels; else it has one class.
    """

    class_names: tuple[str, ...]
    images: tuple[Image, ...]
    unreadable: tuple[tuple[Path, str], ...]
    many_labels: bool = False

    def split(self, name: str) -> tuple[Image, ...]:
        """Returns the images of one split."""
        return tuple(image for image in self.images if image.split == name)

    def class_counts(self, split: str) -> tuple[int, ...]:
        """Returns how many images of a split show each class, in the order of the names."""
        counts = Counter(name for image in self.split(split) for name in image.class_names)
        return tuple(counts[name] for name in self.class_names)


def build_index(
    listing: Listing,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    seen: Seen | None = None,
) -> Index:
    """Reads every file, leaves out what is no image, and divides the rest.

    Args:
        listing: The files.
        validation_fraction: Share of the images that chooses the best weights.
        test_fraction: Share of the images kept apart for the final measurement.
        seed: Of the division.
        seen: Is given every image, if anything is.

    Raises:
        DataError: If over 10 % of the files are unreadable, a class is too small, or
            a class has nothing to train on.
    """
    for note in listing.notes:
        _log.info("%s: %s", listing.root, note)
    images, unreadable = look(listing.files, seen)
    for path, reason in unreadable:
        _log.warning("left out: %s (%s)", _shown(path), reason)
    if len(unreadable) > MOST_UNREADABLE * len(listing.files):
        raise DataError(_too_many(listing, unreadable))
    divided = _divide(listing, images, validation_fraction, test_fraction, seed)
    index = Index(listing.class_names, tuple(divided), tuple(unreadable), listing.many_labels)
    _check_classes(listing, index)
    _warn_of_leaks(index)
    return index


def summary(index: Index) -> str:
    """Says in one line what there is, such as `600 images of 5 classes: train 510, ...`.

    With many labels an image it says `600 images with any of 5 labels: train 510, ...`.
    """
    counts = Counter(image.split for image in index.images)
    parts = ", ".join(f"{name} {counts[name]}" for name in SPLITS)
    left_out = f"; {len(index.unreadable)} unreadable left out" if index.unreadable else ""
    which = "with any of {} labels" if index.many_labels else "of {} classes"
    return f"{len(index.images)} images {which.format(len(index.class_names))}: {parts}{left_out}"


def look(
    files: Sequence[File], seen: Seen | None = None
) -> tuple[list[Image], list[tuple[Path, str]]]:
    """Reads files, in threads and with progress.

    Args:
        files: In the order of the images.
        seen: Is given every image, if anything is.

    Returns:
        The images, each of the split that its source gives it; and path and reason of each
        file that is none.
    """
    images, unreadable = [], []
    # One before the threads: each of those that called it first would make the graph ready anew.
    first = [look_at(file.path, seen) for file in files[:1]]
    with ThreadPoolExecutor() as pool:
        rest = pool.map(lambda file: look_at(file.path, seen), files[1:])
        looked = itertools.chain(first, rest)
        progress = tqdm(looked, "looking", len(files), unit=" images", disable=None, leave=False)
        for file, found in zip(files, progress, strict=True):
            if isinstance(found, str):
                unreadable.append((file.path, found))
            else:
                images.append(Image(file.path, file.class_names, file.split, *found))
    return images, unreadable


def _divide(
    listing: Listing, images: list[Image], validation: float, test: float, seed: int
) -> list[Image]:
    published = {image.split for image in images}
    if published <= {"", "train"}:
        return _assign(listing, images, {"validation": validation, "test": test}, seed)
    if "test" not in published:
        _log.info(
            "%s has a validation split and no test split: it is kept apart as the test split",
            listing.root,
        )
        images = [replace(i, split="test") if i.split == "validation" else i for i in images]
    if {"validation", "test"} <= published:
        return images
    train = [image for image in images if image.split == "train"]
    _log.info(
        "no validation split given: %.0f %% of train is taken, by seed %d", validation * 100, seed
    )
    divided = _assign(listing, train, {"validation": validation}, seed)
    return divided + [image for image in images if image.split != "train"]


def _assign(
    listing: Listing, images: list[Image], shares: dict[str, float], seed: int
) -> list[Image]:
    hashes = [image.sha256 for image in images]
    if listing.many_labels:
        parts = split_many_labels([i.class_names for i in images], hashes, shares, seed)
    else:
        parts = split([i.class_name for i in images], hashes, shares, seed)
    return [replace(image, split=part) for image, part in zip(images, parts, strict=True)]


def _check_classes(listing: Listing, index: Index) -> None:
    for name, count in zip(index.class_names, index.class_counts("train"), strict=True):
        if not count:
            raise DataError(
                f"class '{name}' has no readable image to train on in {listing.root}:"
                " add some, or take the class away"
            )
    for split_name in ("validation", "test"):
        counts = zip(index.class_names, index.class_counts(split_name), strict=True)
        missing = ", ".join(name for name, count in counts if not count)
        if missing:
            _log.warning("the %s split has no image of: %s", split_name, missing)


def _warn_of_leaks(index: Index) -> None:
    """A published split may hold the same bytes on both sides: say so, it flatters."""
    hashes = {name: {image.sha256 for image in index.split(name)} for name in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        leaked = len(hashes[one] & hashes[other])
        if leaked:
            _log.warning("same images in two splits: %d in %s and %s", leaked, one, other)


def _too_many(listing: Listing, unreadable: list[tuple[Path, str]]) -> str:
    path, reason = unreadable[0]
    return (
        f"{len(unreadable)} of {len(listing.files)} files in {listing.root} cannot be read as"
        f" images, such as {_shown(path)} ({reason}): more than 10 %, so nothing was trained"
    )


def _shown(path: Path) -> str:
    """The path as it can be written anywhere, whatever bytes its name holds."""
    return os.fsencode(path).decode(errors="backslashreplace")


def changed_images(images: Sequence[Image]) -> list[Image]:
    """Lists the images whose files are gone, or hold other bytes than when they were looked at."""
    return [image for image in images if hash_of(image.path) != image.sha256]


def fingerprint(index: Index) -> str:
    """Hashes contents, classes and splits: equal for equal data, wherever it lies."""
    rows = sorted(f"{i.sha256} {i.class_name} {i.split}" for i in index.images)
    if index.many_labels:  # 'a;b' may be the name of one class, too
        rows.append("many labels")
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def write_index(index: Index, path: Path) -> None:
    """Writes the images as `splits.csv`: a row each, with path, class, split, hash and size.

    Where an image carries many labels, they stand in the column of the class with `;`
    between them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for image in index.images:
        writer.writerow([getattr(image, column) for column in _COLUMNS])
    write_whole(path, text.getvalue())


def read_index(path: Path, class_names: Sequence[str], many_labels: bool = False) -> Index:
    """Reads what `write_index` wrote, without opening an image.

    Args:
        path: Of `splits.csv`.
        class_names: In the order of labels.
        many_labels: As the index had it that was written.

    Raises:
        DataError: If the file is missing, damaged, or of other classes.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            images = tuple(_from_row(row, many_labels) for row in csv.DictReader(file))
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as the splits of a run: {error!r}") from error
    if {name for image in images for name in image.class_names} != set(class_names):
        raise DataError(f"{path} does not hold the classes {', '.join(class_names)}: it is cut off")
    return Index(tuple(class_names), images, (), many_labels)


def _from_row(row: dict[str, str], many_labels: bool) -> Image:
    if row["split"] not in SPLITS:
        raise ValueError(f"no split: {row['split']!r}")
    sides = int(row["height"]), int(row["width"])
    name = row["class_name"]
    names = tuple(filter(None, name.split(SEPARATOR))) if many_labels else (name,)
    return Image(Path(row["path"]), names, row["split"], row["sha256"], *sides)
