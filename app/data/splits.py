"""Which image is trained on, which chooses the weights, and which is kept apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from app.errors import DataError

SPLITS = ("train", "validation", "test")
_ANY = ""  # stands for a label that every image carries


def split(
    class_names: Sequence[str], hashes: Sequence[str], shares: dict[str, float], seed: int
) -> list[str]:
    """Divides images into splits, class by class.

    Each class gives the same share to every split, at least one image. Images with
    the same bytes stay together, and count for the first by name of the classes that
    they lie in. The order is that of a hash of seed and content, so it depends neither
    on the order nor on the other images: adding some moves few.

    Args:
        class_names: Of each image.
        hashes: Of each image's bytes, hexadecimal.
        shares: Share of each split other than `train`, which takes the rest.
        seed: Another seed gives another division.

    Returns:
        The split of each image.

    Raises:
        DataError: If a class has fewer different images than there are splits.
    """
    owners: dict[str, str] = {}
    for name, digest in zip(class_names, hashes, strict=True):
        owners[digest] = min(owners.get(digest, name), name)
    groups: dict[str, dict[str, list[int]]] = {name: {} for name in sorted(set(class_names))}
    for index, digest in enumerate(hashes):
        groups[owners[digest]].setdefault(digest, []).append(index)
    chosen = ["train"] * len(hashes)
    for name, members in groups.items():
        if len(members) < len(shares) + 1:
            raise DataError(_too_few(name, len(members), len(shares) + 1))
        order = sorted(members, key=lambda digest: _rank(digest, seed))
        for part, digests in _take(order, shares).items():
            for index in (i for digest in digests for i in members[digest]):
                chosen[index] = part
    return chosen


def split_many_labels(
    labels: Sequence[Sequence[str]], hashes: Sequence[str], shares: Mapping[str, float], seed: int
) -> list[str]:
    """Divides images that carry any number of labels, rare labels first.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification
    of Multi-Label Data"): of the label with the fewest images left, each image goes to the
    split that wants this label most. Three things are added: one image of every label goes
    to training beforehand; a split wants at least one image of each label that has as many
    as there are splits; and ties are decided by a hash of seed and content, so that the
    order of the images does not matter. Images with the same bytes stay together, count
    once, and carry the labels of all of them.

    Args:
        labels: Of each image, perhaps none; none is the empty string.
        hashes: Of each image's bytes, hexadecimal.
        shares: Share of each split other than `train`, which takes the rest.
        seed: Another seed gives another division.

    Returns:
        The split of each image.

    Raises:
        DataError: If a split gets no image at all.
    """
    carried: dict[str, set[str]] = {}
    for names, digest in zip(labels, hashes, strict=True):
        carried.setdefault(digest, {_ANY}).update(names)
    members: dict[str, list[str]] = {}
    for digest in sorted(carried, key=lambda each: _rank(each, seed)):
        for name in carried[digest]:
            members.setdefault(name, []).append(digest)
    left = {name: len(members[name]) for name in sorted(members)}
    wanted = _wanted(left, shares)
    chosen: dict[str, str] = {}

    def put(digest: str, part: str) -> None:
        chosen[digest] = part
        for name in carried[digest]:
            wanted[part][name] -= 1
            left[name] -= 1

    for name in sorted(left.keys() - {_ANY}, key=lambda each: (left[each], each)):
        if chosen.keys().isdisjoint(members[name]):
            put(members[name][0], "train")
    while unfinished := [name for name, count in left.items() if count]:
        # Every image is one of any label: these come last, for those that carry no other.
        rarest = min(unfinished, key=lambda name: (name == _ANY, left[name]))
        for digest in members[rarest]:
            if digest not in chosen:
                put(digest, _where(wanted, rarest, digest, seed))
    for part in wanted:
        if part not in chosen.values():
            raise DataError(_none_left(part, len(carried)))
    return [chosen[digest] for digest in hashes]


def _wanted(counts: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Returns how many images of each label every split is to get."""
    wanted = {
        part: {n: max(share * c, float(c > len(shares))) for n, c in counts.items()}
        for part, share in shares.items()
    }
    rest = {name: count - sum(of[name] for of in wanted.values()) for name, count in counts.items()}
    return {"train": rest, **wanted}


def _where(wanted: Mapping[str, Mapping[str, float]], name: str, digest: str, seed: int) -> str:
    """The split that wants this label most; among equals, images; then by lot."""
    return max(
        wanted, key=lambda p: (wanted[p][name], wanted[p][_ANY], _rank(f"{p} {digest}", seed))
    )


def _take(order: list[str], shares: dict[str, float]) -> dict[str, list[str]]:
    """Cuts one class: rounded shares, but one at least for every split and for training."""
    taken, start, spare = {}, 0, len(order) - len(shares) - 1
    for part, share in shares.items():
        extra = min(max(round(share * len(order)) - 1, 0), spare)
        taken[part] = order[start : start + 1 + extra]
        start, spare = start + 1 + extra, spare - extra
    return taken


def _rank(digest: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {digest}".encode()).hexdigest()


def _too_few(name: str, found: int, needed: int) -> str:
    what = "1 different image" if found == 1 else f"{found} different images"
    return (
        f"class '{name}' has {what} of its own: at least {needed} are needed, one each for training"
        " and for what is measured; add some, or take the folder away"
    )


def _none_left(part: str, found: int) -> str:
    return (
        f"{found} different images leave none for the {part} split, once training has one of each"
        " label: add some, or take rare labels away"
    )
