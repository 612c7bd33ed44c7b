"""From a finished run to an export that is proven to answer as the run does."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from app.data.batches import labels_of, measuring_batches
from app.data.index import Image, Index, changed_images
from app.data.kept import KeptImages
from app.describing import describe
from app.errors import ExportError
from app.exports.calibration import fit_temperature
from app.exports.card import write_card
from app.exports.departure import Through, first_departure
from app.exports.formats import (
    CALIBRATION_IMAGES,
    Ask,
    Format,
    Pixels,
    formats_of,
    write_bare,
    write_reading,
)
from app.exports.hashes import write_hashes
from app.exports.meaning import Meaning
from app.exports.parity import Certificate, certify, table
from app.exports.places import next_version
from app.exports.request import Request
from app.exports.saved_model import write_saved_model
from app.files import whole_folder
from app.run_directory import Run
from app.runs import index_of, load_model

SAVED_MODEL = "savedmodel"
# Of a SavedModel's probabilities; where layers compute in half precision, their last bits differ.
TOLERANCE, HALF_TOLERANCE = 1e-5, 5e-3
# By how much of its largest output a layer of a coarser format may differ, before it is named.
COARSE = 0.1
TIMED = 20  # images
_BATCH = 16
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class _Subject:
    """What is exported, and what it is proven on.

    Attributes:
        run: Where it comes from.
        model: Pixels in, logits out.
        meaning: Of the logits.
        index: All images of the run.
        kept: The validation images, once they are read; None if nothing is to be proven.
        logits: Of the validation images.
    """

    run: Run
    model: keras.Model
    meaning: Meaning
    index: Index
    kept: KeptImages | None
    logits: NDArray[np.float32]

    @property
    def images(self) -> tuple[Image, ...]:
        """That it is proven on."""
        return self.index.split("validation")

    def pixels(self, images: Sequence[Image]) -> Iterator[Pixels]:
        """Yields images in batches, as the model gets them."""
        size = int(self.model.input.shape[1])
        for batch, _ in measuring_batches(self.index, images, size, _BATCH, kept=self.kept):
            yield batch.numpy()


def export(
    finished: Run, output: Path = Path("saved_models"), request: Request | None = None
) -> Path:
    """Writes the model of a run as `<output>/<recipe>/<version>/`.

    Args:
        finished: The run.
        output: Holds exports by the names of recipes; versions are never overwritten.
        request: What is to be in it.

    Returns:
        The folder of the version.

    Raises:
        GraftError: If the run is not finished, its validation images are not what they were, a
            format answers otherwise than Keras, or the folder cannot be written.
    """
    request = request or Request()
    tf.config.experimental.enable_tensor_float_32_execution(False)  # GPUs round more by default
    finished.metrics  # noqa: B018  # it was measured, or says that it was not
    wanted = formats_of(request.formats)
    subject = _subject(finished, request)
    folder = output / finished.recipe.name
    version = folder / str(next_version(folder))
    with _writing(version) as unfinished:
        write_saved_model(subject.model, subject.meaning, unfinished)
        _write_formats(subject, wanted, unfinished)
        found = _certified(subject, wanted, unfinished) if request.certified else []
        number = int(version.name)
        write_card(unfinished, describe(finished, subject.meaning, found, unfinished, number))
        write_hashes(unfinished)
    return version


@contextmanager
def _writing(version: Path) -> Iterator[Path]:
    """Yields a folder that becomes the version; says what cannot be written in one line."""
    try:
        with whole_folder(version) as unfinished:
            yield unfinished
    except FileExistsError as error:
        raise ExportError(f"{version} cannot be written (it exists): try --output") from error
    except OSError as error:
        where, reason = error.filename or version, error.strerror or error
        raise ExportError(
            f"{version} cannot be written ({where}: {reason}): try --output, or TMPDIR"
        ) from error
    except tf.errors.OpError as error:  # such as a full disk, within TensorFlow
        reason = " ".join(str(error.message).split())[:200]
        raise ExportError(f"{version} cannot be written ({reason}): try --output") from error


def _subject(run: Run, request: Request) -> _Subject:
    index, model = index_of(run), load_model(run)
    meaning = Meaning(
        run.manifest["class_names"],
        index.many_labels,
        unsure_below=request.unsure_below,
        top_k=request.top_k,
    )
    subject = _Subject(run, model, meaning, index, None, np.zeros(0, np.float32))
    if not request.certified:
        _log.warning("nothing proves that this export answers as the run did: --uncertified")
        return subject
    _check_images(subject.images, "validation", "on which an export is proven", "--uncertified")
    size = int(model.input.shape[1])
    subject = replace(subject, kept=KeptImages([*subject.images], size))
    batches = tqdm(
        subject.pixels(subject.images), "asking Keras", disable=None, leave=False, unit=" batches"
    )
    ask = tf.function(lambda pixels: model(pixels, training=False), reduce_retracing=True)
    logits = np.concatenate([ask(tf.constant(pixels)).numpy() for pixels in batches])
    if request.calibrate:
        labels = labels_of(index, subject.images).numpy()
        meaning = replace(meaning, temperature=fit_temperature(logits, labels))
        _log.info("temperature: %g, found on the validation images", meaning.temperature)
    return replace(subject, meaning=meaning, logits=logits)


def _check_images(images: Sequence[Image], split: str, use: str, instead: str) -> None:
    changed = changed_images(images)
    if changed:
        raise ExportError(
            f"{len(changed)} {split} images, {use}, are gone or changed, such as"
            f" {changed[0].path}: put them back as they were, or export {instead}"
        )


def _calibration(subject: _Subject, wanted: Sequence[Format]) -> Pixels:
    """Reads training images from the first class to the last, if a format is made with some."""
    size = int(subject.model.input.shape[1])
    if not any(each.calibrated for each in wanted):
        return np.zeros([1, size, size, 3], np.uint8)
    train = subject.index.split("train")
    places = np.linspace(0, len(train) - 1, min(len(train), CALIBRATION_IMAGES)).astype(int)
    chosen = [train[place] for place in places]
    _check_images(chosen, "training", "on which int8 is calibrated", "without litert")
    return np.concatenate([*subject.pixels(chosen)])


def _write_formats(subject: _Subject, wanted: Sequence[Format], folder: Path) -> None:
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as temporary:
        bare = Path(temporary)
        write_bare(subject.model, subject.meaning.shares, _calibration(subject, wanted), bare)
        for each in tqdm(wanted, "converting", disable=None, leave=False, unit=" formats"):
            file = folder / each.file
            file.parent.mkdir(exist_ok=True)
            each.write(bare, file)
            write_reading(file.parent)


def _certified(subject: _Subject, wanted: Sequence[Format], folder: Path) -> list[Certificate]:
    """Asks every format about the validation images.

    Raises:
        ExportError: If one answers otherwise than it may.
    """
    half = subject.run.manifest["precision"] != "float32"
    labels = labels_of(subject.index, subject.images).numpy()
    reference = subject.meaning.shares(tf.constant(subject.logits)).numpy()
    asked = _ask_saved_model(subject, folder)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    places = [folder / "saved_model.pb", folder / "variables"]
    found = [_measured(SAVED_MODEL, tolerance, reference, asked, labels, places)]
    for each in wanted:
        asked = _ask_pixels(subject, each.name, each.ask(folder / each.file))
        allowed = max(each.tolerance, tolerance) if each.tolerance else None
        found.append(_measured(each.name, allowed, reference, asked, labels, [folder / each.file]))
    for line in table(found):
        _log.info(line)
    for certificate in found:
        if certificate.complaint:
            raise ExportError(_refused(subject, certificate, wanted))
    return found


@dataclass(frozen=True)
class _Asked:
    """Probabilities of all validation images, and milliseconds of single ones."""

    shares: NDArray[np.float32]
    milliseconds: float


def _ask_saved_model(subject: _Subject, folder: Path) -> _Asked:
    answer = tf.saved_model.load(str(folder)).signatures["serving_default"]

    def ask(images: Sequence[Image]) -> NDArray[np.float32]:
        contents = [image.path.read_bytes() for image in images]
        shares: NDArray[np.float32] = answer(tf.constant(contents))["probabilities"].numpy()
        return shares

    images = subject.images
    batches = [images[at : at + _BATCH] for at in range(0, len(images), _BATCH)]
    return _asked(SAVED_MODEL, ask, batches, [[image] for image in images[:TIMED]])


def _ask_pixels(subject: _Subject, name: str, ask: Ask) -> _Asked:
    few = np.concatenate([*subject.pixels(subject.images[:TIMED])])
    return _asked(name, ask, subject.pixels(subject.images), [row[None] for row in few])


def _asked(name: str, ask: Callable[[Any], Any], batches: Any, singles: Sequence[Any]) -> _Asked:
    shown = tqdm(batches, f"asking {name}", disable=None, leave=False, unit=" batches")
    shares = np.concatenate([ask(batch) for batch in shown])
    seconds = []
    for single in singles:
        began = time.perf_counter()
        ask(single)
        seconds.append(time.perf_counter() - began)
    return _Asked(shares, 1000 * statistics.median(seconds))


def _measured(
    name: str,
    tolerance: float | None,
    reference: NDArray[np.float32],
    asked: _Asked,
    labels: NDArray[Any],
    places: Sequence[Path],
) -> Certificate:
    whole = [file for place in places for file in [place, *place.rglob("*")] if file.is_file()]
    size = sum(file.stat().st_size for file in whole)
    found = certify(name, tolerance, reference, asked.shares, labels)
    return replace(found, bytes=size, milliseconds=asked.milliseconds)


def _refused(subject: _Subject, certificate: Certificate, wanted: Sequence[Format]) -> str:
    through = _through(subject, [each for each in wanted if each.name == certificate.format])
    pixels = next(subject.pixels(subject.images[:4]))
    place = first_departure(subject.model, through, pixels, certificate.tolerance or COARSE)
    where = f"it departs first in {place}" if place else "no layer departs by itself"
    return f"{certificate.format}: {certificate.complaint}; {where}; nothing was exported"


def _through(subject: _Subject, formats: Sequence[Format]) -> Through:
    """Returns what writes a part of the model in a format, or as a SavedModel if there is none."""
    calibration = _calibration(subject, formats)

    def through(part: keras.Model, folder: Path) -> Ask:
        write_bare(part, lambda output: output, calibration, folder)
        for each in formats:
            each.write(folder, folder / "part")
            return each.ask(folder / "part")
        answer = tf.saved_model.load(str(folder / "uint8")).signatures["serving_default"]
        return lambda pixels: answer(tf.constant(pixels))["probabilities"].numpy()

    return through
