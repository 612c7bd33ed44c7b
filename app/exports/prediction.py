"""Asking an export about files, with nothing but TensorFlow: no Keras, no training code."""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.exports.loaded import BATCH, Loaded, at_once
from app.exports.rows import Tally, batches_of, go_on, header, keep, line, unfinished

KEEP_SECONDS = 10.0  # what a power cut can cost
PARQUET = ".parquet"
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Answer:
    """What an export says of one file.

    Attributes:
        path: The file.
        label: The likeliest class, or all labels from probability 0.5 on with `;` between
            them. Empty if there is no such label, or the file could not be read.
        probabilities: float32 `[classes]`; None if the file could not be read.
        error: Why it could not be read; empty if it could.
    """

    path: Path
    label: str
    probabilities: NDArray[np.float32] | None
    error: str


class Export(Loaded):
    """An export that is asked about files."""

    def predict(self, paths: Iterable[Path]) -> Iterator[Answer]:
        """Answers files in their order; one that cannot be read spoils no other."""
        return itertools.chain.from_iterable(self.predict_batches(paths))

    def predict_batches(self, paths: Iterable[Path]) -> Iterator[list[Answer]]:
        """Answers files in batches of `BATCH`, some of them at once, in their order.

        Each batch stays on one thread from file to answer: while one reads, another
        computes, and none waits for parts of an operation that others have.
        """
        waiting: deque[Future[list[Answer]]] = deque()
        pool = ThreadPoolExecutor(at_once())
        try:
            for batch in batches_of(iter(paths), BATCH):
                waiting.append(pool.submit(self._predict_batch, batch))
                if len(waiting) > at_once():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def predict_contents(self, files: Iterable[tuple[Path, bytes]]) -> list[Answer]:
        """Answers files whose bytes are here already, all in one batch."""
        return self._answers([(path, self.read(contents)) for path, contents in files])

    def _predict_batch(self, paths: Sequence[Path]) -> list[Answer]:
        return self._answers([(path, self._read_file(path)) for path in paths])

    def _answers(self, read: Sequence[tuple[Path, NDArray[np.uint8] | str]]) -> list[Answer]:
        pixels = [one for _, one in read if not isinstance(one, str)]
        said = iter(self._ask(np.stack(pixels)) if pixels else ())
        return [
            Answer(path, "", None, one) if isinstance(one, str) else Answer(path, *next(said), "")
            for path, one in read
        ]

    def _read_file(self, path: Path) -> NDArray[np.uint8] | str:
        try:
            return self.read(path.read_bytes())
        except (OSError, ValueError) as error:  # the second for a name with a zero byte in it
            return getattr(error, "strerror", None) or str(error)

    def _ask(self, pixels: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        said = self.answer(pixels)
        labels = (label.decode() for label in said["label"])
        return zip(labels, said["probabilities"], strict=True)


def write_predictions(
    export: Export, paths: Iterable[Path], file: IO[str], total: int | None = None
) -> Tally:
    """Writes a row a file as CSV: file, label, probability, error, and every class.

    `probability` is that of the likeliest class or label.

    Args:
        export: What is asked.
        paths: The files, in order.
        file: Where the rows go, batch by batch.
        total: How many files there are, for the time left on a terminal.

    Returns:
        How many files were answered, and how many of them could not be read.
    """
    file.write(line(header(export.class_names)))

    def write(rows: str) -> None:
        file.write(rows)
        file.flush()

    return _write_rows(export, paths, write, Tally(), total)


def finish_predictions(
    export: Export, paths: Iterable[Path], output: Path, partial: Path, total: int | None = None
) -> Tally:
    """Writes the same rows to a file that is there when all are, or goes on with it.

    However often it is stopped and called again, the file has the same bytes in the end.

    Args:
        export: What is asked.
        paths: The files, in order.
        output: The file, whose ending says whether it is CSV or Parquet.
        partial: Where the rows are kept meanwhile: `rows.partial_of(output, ...)`.
        total: How many files there are, for the time left on a terminal.

    Returns:
        As `write_predictions`, those included that were answered before.

    Raises:
        ExportError: If it cannot be written, or was begun with other files.
    """
    columns = header(export.class_names)

    def convert(partial: Path, output: Path) -> None:
        from app.exports.parquet import to_parquet  # only who wants it pays for it

        to_parquet(partial, output, columns)
        partial.unlink()

    complete = convert if output.suffix.lower() == PARQUET else Path.replace
    with unfinished(partial, output, complete) as file:
        done, left = go_on(file, columns, iter(paths), BATCH)
        if done.files:
            _log.info("going on with %s, which answers %d files already", partial, done.files)
        kept = time.monotonic()

        def write(rows: str) -> None:
            nonlocal kept
            file.write(rows.encode(errors="surrogateescape"))
            file.flush()
            if time.monotonic() > kept + KEEP_SECONDS:
                keep(file)
                kept = time.monotonic()

        try:
            return _write_rows(export, left, write, done, total)
        except KeyboardInterrupt:
            _log.warning("stopped: the same command goes on with %s", partial)
            raise


def _write_rows(
    export: Export,
    paths: Iterable[Path],
    write: Callable[[str], None],
    done: Tally,
    total: int | None,
) -> Tally:
    with tqdm(
        None, "predicting", total, initial=done.files, unit=" images", disable=None
    ) as progress:
        for answers in export.predict_batches(paths):
            write("".join(line(_row(answer, len(export.class_names))) for answer in answers))
            errors = sum(bool(answer.error) for answer in answers)
            done = Tally(done.files + len(answers), done.unreadable + errors)
            progress.update(len(answers))
    return done


def _row(answer: Answer, classes: int) -> list[str]:
    shares = [] if answer.probabilities is None else answer.probabilities.tolist()
    best = f"{max(shares):.6f}" if shares else ""
    row = [f"{share:.6f}" for share in shares] or [""] * classes
    return [str(answer.path), answer.label, best, answer.error, *row]
