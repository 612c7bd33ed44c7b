"""Where images come from: every source ends as a list of image files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.errors import DataError

SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
SEPARATOR = ";"  # between the labels of one image, wherever they are written down
# What operating systems leave in folders; nobody means it as an image.
# Only for files that lie beside the class folders: inside, every file is looked at.
_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
_LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}


@dataclass(frozen=True)
class File:
    """A file that a source offers as an image.

    Attributes:
        path: Where it lies.
        class_names: The one class that its folder stands for, or any number of labels in
            natural order.
        split: `train`, `validation`, `test`, or empty where the source has no splits.
    """

    path: Path
    class_names: tuple[str, ...]
    split: str


@dataclass(frozen=True)
class Listing:
    """What a source holds, before any file was opened.

    Attributes:
        root: The folder, or the CSV file.
        class_names: In natural order: "2" comes before "10".
        files: In the order of split, class and path, or of the rows.
        notes: What was taken for granted, in sentences for the user.
        many_labels: Whether an image carries any number of labels; else it has one class.
    """

    root: Path
    class_names: tuple[str, ...]
    files: tuple[File, ...]
    notes: tuple[str, ...] = ()
    many_labels: bool = False


def list_images(source: str) -> Listing:
    """Lists the image files of a source.

    Args:
        source: A folder with one sub-folder a class, or with such folders inside
            `train`, `validation` (or `val`, `valid`) and `test`; a CSV file that lists
            images; `tfds:<name>` or the directory of a prepared TFDS data set;
            `sklearn:digits`.

    Raises:
        DataError: If it is none of these, is empty, or has fewer than two classes.
    """
    if not source:
        raise DataError("no images named: give a folder with --data.source FOLDER")
    if source.startswith("tfds:"):
        from app.data.tfds import folder_of_name  # loads TFDS, which few need

        return list_folder(folder_of_name(source.removeprefix("tfds:")))
    if source.startswith("sklearn:"):
        from app.data.digits import digits_folder  # loads scikit-learn and TensorFlow

        return list_folder(digits_folder(source.removeprefix("sklearn:")))
    try:
        folder = Path(source).expanduser()
        prepared = (folder / "dataset_info.json").is_file()
        table = folder.suffix.lower() == ".csv" and not folder.is_dir()
    except (OSError, RuntimeError) as error:  # no permission, a name too long; no such user
        raise DataError(f"{source} cannot be read: {getattr(error, 'strerror', error)}") from error
    if table:
        from app.data.csv_table import list_table  # which builds on what stands here

        return list_table(folder)
    if prepared:
        from app.data.tfds import folder_of_directory

        folder = folder_of_directory(folder)
    return list_folder(folder)


def list_folder(root: Path) -> Listing:
    """Lists a folder of class folders, with or without split folders above them.

    Raises:
        DataError: If it is missing or unreadable, or has fewer than two classes with files.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(
            f"{root} {what}: --data.source takes a folder, with one sub-folder a class where labels"
            " are needed, or a .csv file"
        )
    root = root.absolute()  # so that a run finds its images from anywhere
    with _said_unreadable(root):
        folders = _folders(root)
        return _list_splits(root, folders) if _has_splits(folders) else _list_classes(root, folders)


def list_unlabelled(source: str) -> Listing:
    """Lists the image files of a source, whatever they show.

    Args:
        source: A folder, in which every image file counts, at any depth; or what else
            `list_images` takes.

    Returns:
        A listing without class names; of a source that says which images are for testing,
        without those.

    Raises:
        DataError: If there is none, or no image in it.
    """
    root = None
    with suppress(OSError, RuntimeError):  # `list_images` says what is wrong with the name
        folder = Path(source).expanduser()
        if source and folder.is_dir() and not (folder / "dataset_info.json").is_file():
            root = folder.absolute()
    if root:
        return Listing(root, (), _list_any(root))
    listing = list_images(source)
    files = tuple(File(file.path, (), "") for file in listing.files if file.split != "test")
    return Listing(listing.root, (), files, listing.notes)


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A sorting key that counts digits as numbers: "2" before "10", "b" after "a10"."""
    parts = re.findall(r"\d+|\D+", name)
    key = [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts]
    return [*key, (-1, 0, name)]


def _has_splits(folders: list[Path]) -> bool:
    """Tells splits from classes: "train" may be a vehicle, and "valid" the opposite of "faulty"."""
    splits = [folder for folder in folders if folder.name.lower() in SPLIT_FOLDERS]
    train = [folder for folder in splits if SPLIT_FOLDERS[folder.name.lower()] == "train"]
    return any(_folders(folder) for folder in train) or (splits == folders != [])


def _list_classes(root: Path, folders: list[Path]) -> Listing:
    classes = [folder for folder in folders if _is_shown(folder)]
    listed = {folder: tuple(_list_class(folder, "")) for folder in classes}
    files = tuple(file for files in listed.values() for file in files)
    return _listing(root, files, _notes(root, folders, listed))


def _list_splits(root: Path, folders: list[Path]) -> Listing:
    splits = {f: SPLIT_FOLDERS[f.name.lower()] for f in folders if f.name.lower() in SPLIT_FOLDERS}
    if len(set(splits.values())) < len(splits):
        names = ", ".join(folder.name for folder in splits)
        raise DataError(f"{root} has two folders for one split among {names}: keep one of them")
    if "train" not in splits.values():
        names = " and ".join(folder.name for folder in splits)
        raise DataError(f"{root} has {names}, but no train folder: add {root / 'train'}")
    inside = {folder: _folders(folder) for folder in splits}
    listed = {
        class_folder: tuple(_list_class(class_folder, split))
        for folder, split in splits.items()
        for class_folder in inside[folder]
        if _is_shown(class_folder)
    }
    others = ", ".join(folder.name for folder in folders if folder not in splits)
    left_out = f"left out, since they are no split (train, validation, test): {others}"
    notes = _notes(root, [each for folders in inside.values() for each in folders], listed)
    files = tuple(file for files in listed.values() for file in files)
    return _listing(root, files, (left_out, *notes) if others else notes)


def _notes(
    root: Path, folders: list[Path], listed: Mapping[Path, tuple[File, ...]]
) -> tuple[str, ...]:
    """Names the folders that no class came from, and why."""
    empty = [folder for folder, files in listed.items() if not files]
    aside = [folder for folder in folders if folder not in listed]
    why = {"they are empty": empty, "their names begin with '_'": aside}
    notes = [
        f"left out, since {reason}: {', '.join(str(each.relative_to(root)) for each in which)}"
        for reason, which in why.items()
        if which
    ]
    loose = [path for folder in {root, *(f.parent for f in listed)} for path in _loose(folder)]
    if loose:
        notes.append(f"left out, since they are in no class folder: {len(loose)} files")
    return tuple(notes)


def _loose(folder: Path) -> list[Path]:
    files = (each for each in folder.iterdir() if each.is_file() and each.name[0] != ".")
    return [each for each in files if each.suffix.lower() in _ENDINGS]


def _listing(root: Path, files: tuple[File, ...], notes: tuple[str, ...]) -> Listing:
    class_names = tuple(sorted({file.class_names[0] for file in files}, key=natural_order))
    if not class_names:
        raise DataError(
            f"{root} has no images in class folders: put them in one sub-folder a class,"
            f" such as {root / 'cat'} and {root / 'dog'}"
        )
    if len(class_names) == 1:
        raise DataError(
            f"{root} has one class only, '{class_names[0]}': put images of another class"
            " in a folder beside it"
        )
    return Listing(root, class_names, files, notes)


def _folders(folder: Path) -> list[Path]:
    """Finds the folders inside that are not hidden; links may lead anywhere but back up."""
    home = folder.resolve()
    inside = [
        each
        for each in folder.iterdir()
        if each.name[0] != "." and each.is_dir() and not home.is_relative_to(each.resolve())
    ]
    return sorted(inside, key=lambda each: natural_order(each.name))


def _is_shown(folder: Path) -> bool:
    return folder.name[0] != "_"


def _list_class(folder: Path, split: str) -> Iterator[File]:
    """Links inside a class folder are not followed: a loop would repeat its files."""
    for inside, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted((name for name in folders if name[0] != "."), key=natural_order)
        for name in sorted(names, key=natural_order):
            if name[0] != "." and name.lower() not in _LITTER:
                yield File(Path(inside) / name, (folder.name,), split)


def _list_any(root: Path) -> tuple[File, ...]:
    with _said_unreadable(root):
        listed = [file.path for file in _list_class(root, "")]
    files = tuple(File(path, (), "") for path in listed if path.suffix.lower() in _ENDINGS)
    if not files:
        endings = ", ".join(sorted(_ENDINGS))
        raise DataError(f"{root} has no images in it, at any depth: files end with {endings}")
    return files


@contextmanager
def _said_unreadable(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or root
        raise DataError(f"{where} cannot be read: {error.strerror}; make it readable") from error


def _raise(error: OSError) -> None:
    """A folder that cannot be read is not an empty one."""
    raise error
