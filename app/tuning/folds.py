"""The images of each fold."""

from __future__ import annotations

from dataclasses import replace

from app.data.index import Index
from app.data.splits import split, split_many_labels


def folds_of(index: Index, count: int, seed: int) -> list[Index]:
    """Divides the images that are not for testing so that each validates once.

    Args:
        index: The images; those for testing stay what they are.
        count: Of folds.
        seed: Of the division, class by class.

    Returns:
        The images of each fold, which are for validation there and for training elsewhere.

    Raises:
        DataError: If a class has fewer images than there are folds.
    """
    ours = [image for image in index.images if image.split != "test"]
    hashes = [image.sha256 for image in ours]
    shares = {str(number): 1 / count for number in range(1, count)}
    if index.many_labels:
        parts = split_many_labels([image.class_names for image in ours], hashes, shares, seed)
    else:
        parts = split([image.class_name for image in ours], hashes, shares, seed)
    part_of = {image.path: part for image, part in zip(ours, parts, strict=True)}
    return [
        replace(
            index,
            images=tuple(
                image
                if image.split == "test"
                else replace(image, split="validation" if part_of[image.path] == fold else "train")
                for image in index.images
            ),
        )
        for fold in ("train", *shares)
    ]
