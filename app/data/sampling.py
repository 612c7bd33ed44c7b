"""Some files of a source in place of all. Standard library only."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import replace

from app.data.sources import File, Listing
from app.errors import DataError

USUAL_COUNT = 500
USUAL_PER_CLASS = 10
LEAST_PER_CLASS = 2  # one alone has no other of its class to be told by
_log = logging.getLogger("graft")


def sample(listing: Listing, most: int | None = None, seed: int = 0) -> Listing:
    """Chooses files at random: two of each class, and of the rest the same share of each.

    Where an image carries any number of labels, they play no part in it. What the source
    keeps apart as its test split is left out: a choice made by it would flatter what is
    measured on it.

    Args:
        listing: What there is.
        most: How many files to choose at most; 500 if None, or ten a class if that is more.
        seed: Another seed chooses others.

    Returns:
        The same source with these files alone, in their order.

    Raises:
        DataError: If there are too few for two of each class, or none to choose from.
    """
    held_out = "test" if any(file.split == "test" for file in listing.files) else "validation"
    files = [file for file in listing.files if file.split != held_out]
    if not files:
        raise DataError(f"{listing.root} has no images outside its {held_out} split: add some")
    if most is None:
        most = max(USUAL_COUNT, USUAL_PER_CLASS * len(listing.class_names))
    groups = _groups(files, listing.many_labels)
    quotas = _quotas([len(group) for group in groups], most)
    if sum(quotas) > most:
        raise DataError(
            f"{most} images are too few to rank by: give --images {sum(quotas)} or more,"
            f" for {LEAST_PER_CLASS} of each class"
        )
    draw = random.Random(seed)
    chosen = {
        number
        for group, quota in zip(groups, quotas, strict=True)
        for number in draw.sample(group, quota)
    }
    kept_apart = len(listing.files) - len(files)
    apart = f"; {kept_apart} of its {held_out} split are kept apart" if kept_apart else ""
    _log.info("%s: %d of %d images are taken%s", listing.root, len(chosen), len(files), apart)
    return replace(listing, files=tuple(files[number] for number in sorted(chosen)))


def _groups(files: Sequence[File], many_labels: bool) -> list[list[int]]:
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, file in enumerate(files):
        groups.setdefault(() if many_labels else file.class_names, []).append(number)
    return list(groups.values())


def _quotas(counts: Sequence[int], most: int) -> list[int]:
    """Gives two to each group, and the rest by what is left in each, rounded by remainders."""
    quotas = [min(count, LEAST_PER_CLASS) for count in counts]
    left = [count - quota for count, quota in zip(counts, quotas, strict=True)]
    free = min(most - sum(quotas), sum(left))
    if free <= 0:
        return quotas
    shares = [free * rest / sum(left) for rest in left]
    quotas = [quota + int(share) for quota, share in zip(quotas, shares, strict=True)]
    by_remainder = sorted(range(len(counts)), key=lambda group: int(shares[group]) - shares[group])
    for group in by_remainder[: min(most, sum(counts)) - sum(quotas)]:
        quotas[group] += 1
    return quotas
