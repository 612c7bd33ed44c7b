"""Backbones ranked by how well their features suit some images, before anything is trained."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from app.backbones.build import build_backbone, scale_pixels
from app.backbones.candidates import Candidate
from app.data.index import Image
from app.data.labelled import readable, targets_to_tell
from app.data.sources import Listing
from app.data.views import view_batches
from app.errors import WeightsError
from app.evaluation.comparison import chance_explains, paired_interval
from app.features.filling import batch_size, forward_of
from app.features.transferability import credit_of, held_out_scores, logme

_TIMED_SECONDS, _LEAST_TIMED = 1.0, 3
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Ranked:
    """What was found of one backbone.

    Attributes:
        candidate: The backbone and its weights.
        logme: How well its features suit the images; higher is better.
        credit: For each image, how right a linear classifier was that was fitted to the
            others, 0 to 1, `[n]`.
        images_per_second: That the frozen network handles here, reading left aside.
    """

    candidate: Candidate
    logme: float
    credit: NDArray[np.float64]
    images_per_second: float


def rank(candidates: Sequence[Candidate], listing: Listing) -> list[Ranked]:
    """Scores backbones on images, each at its own size.

    A backbone whose weights cannot be loaded is left out with a warning. What is held in
    memory grows with the features of one backbone, not with the pixels.

    Args:
        candidates: What to try.
        listing: All its files are used.

    Returns:
        The best first.

    Raises:
        DataError: If over 10 % of the files are unreadable, or all that is left is of one
            class.
    """
    for note in listing.notes:
        _log.info("%s: %s", listing.root, note)
    images = readable(listing)
    targets = targets_to_tell(listing, images)
    found = []
    for number, candidate in enumerate(candidates, 1):
        what = f"{candidate.name} ({number} of {len(candidates)})"
        try:
            found.append(_score(candidate, images, targets, listing.many_labels, what))
        except WeightsError as error:
            _log.warning("left out: %s: %s", candidate.name, error)
        else:
            _log.info("%s: LogME %.3f", what, found[-1].logme)
        keras.utils.clear_session()
    return sorted(found, key=lambda ranked: -ranked.logme)


def table(found: Sequence[Ranked], many_labels: bool = False) -> str:
    """Writes a ranking as a table, with how to read it below.

    Args:
        found: What `rank` found, at least one.
        many_labels: Whether an image carries any number of labels.
    """
    width = max(22, *(len(each.candidate.name) for each in found))
    heading = f"{'backbone':{width}} {'pixels':>6} {'parameters':>11} {'LogME':>8}  "
    equal = [each for each in found if _is_as_good(each, found[0])]
    lines = [f"{heading}{'held out (95 % interval)':26} images/s"]
    for each in found:
        backbone = each.candidate.backbone
        share, low, high = paired_interval(each.credit, np.zeros_like(each.credit))
        lines.append(
            f"{each.candidate.name:{width}} {backbone.image_size:6} {backbone.parameters:11,}"
            f" {each.logme:8.3f}  {f'{share:.1%} ({low:.1%} to {high:.1%})':26}"
            f" {each.images_per_second:8.0f}{' *' if each in equal else ''}"
        )
    return "\n".join([*lines, *_reading(equal, many_labels)])


def _is_as_good(one: Ranked, best: Ranked) -> bool:
    """Whether chance explains that the best was better at more images than the other way."""
    won = int((best.credit > one.credit).sum())
    return chance_explains(won, int((best.credit < one.credit).sum()))


def _reading(equal: Sequence[Ranked], many_labels: bool) -> list[str]:
    quickest = max(equal, key=lambda ranked: ranked.images_per_second).candidate.name
    which = "the quickest here, reading left aside" if len(equal) > 1 else "the only one"
    what = "label ranking precision" if many_labels else "accuracy"
    return [
        "LogME: how well the features, as they are, explain the labels; higher is better. Held out:"
        f" {what}",
        "of a linear classifier, each image answered by one fitted to all others. Both tell where a"
        " frozen",
        "backbone starts, not how far fine-tuning takes it. * is held out no worse than the first,"
        " but for",
        f"chance; of these {quickest} is {which}.",
    ]


def _score(
    candidate: Candidate,
    images: Sequence[Image],
    targets: NDArray[np.float64],
    many_labels: bool,
    what: str,
) -> Ranked:
    features, speed = _features(candidate, images, what)
    if not np.isfinite(features).all():
        raise WeightsError("its features are not finite numbers: give other weights")
    scores = held_out_scores(features, targets)
    credit = credit_of(scores, targets, many_labels)
    return Ranked(candidate, logme(features, targets), credit, speed)


def _features(
    candidate: Candidate, images: Sequence[Image], what: str
) -> tuple[NDArray[np.float32], float]:
    """Returns pooled features `[n, d]`, and how many images a second the network handles."""
    size = candidate.backbone.image_size
    forward = forward_of(_pooled(candidate, size))
    batches = view_batches(images, 0, None, size, batch_size())
    first, rows = None, []
    with tqdm(total=len(images), desc=what, unit=" images", disable=None, leave=False) as progress:
        for pixels in batches:
            first = pixels if first is None else first
            rows.append(forward(pixels))
            progress.update(len(rows[-1]))
    return np.concatenate(rows), _speed(forward, first)


def _pooled(candidate: Candidate, size: int) -> keras.Model:
    """Builds a network from pixels of 0 to 255 to features `[n, d]`."""
    keras.utils.set_random_seed(0)  # of weights `none`
    base, _ = build_backbone(candidate.backbone, size, candidate.weights)
    pixels = keras.Input((size, size, 3), name="pixels")
    maps = base(scale_pixels(pixels, candidate.backbone), training=False)
    pooled = keras.layers.GlobalAveragePooling2D()(maps) if len(maps.shape) == 4 else maps
    return keras.Model(pixels, pooled)


def _speed(forward: Callable[[tf.Tensor], Any], pixels: tf.Tensor) -> float:
    """Times one batch again and again, when nothing is read beside it.

    The quickest counts: whatever else the machine does makes a network slower, never quicker.
    """
    return len(pixels) / min(_times(forward, pixels))


def _times(forward: Callable[[tf.Tensor], Any], pixels: tf.Tensor) -> Iterator[float]:
    begin, count = time.perf_counter(), 0
    while count < _LEAST_TIMED or time.perf_counter() - begin < _TIMED_SECONDS:
        start = time.perf_counter()
        forward(pixels)
        yield time.perf_counter() - start
        count += 1
