"""Predictions within a data engine, for very many files: a batch in, a batch out.

It knows no data engine. With Ray Data (`pip install "graft-vision[ray]"`):

    import ray
    from app.exports.many import Predictor

    files = ray.data.read_binary_files("s3://bucket/photos", include_paths=True)
    answers = files.map_batches(
        Predictor, fn_constructor_args=["saved_models/folder"], batch_size=16, concurrency=4
    )
    answers.write_parquet("s3://bucket/answers")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.exports.rows import batches_of

CONTENTS, NAME = "bytes", "path"


class Predictor:
    """An export that answers batches; one of them is made in each process that works."""

    def __init__(self, export: str) -> None:
        """Loads the export.

        Args:
            export: Its folder, or that of its versions, on every machine that works.

        Raises:
            ExportError: If it is none.
        """
        from app.exports.loaded import BATCH  # TensorFlow, only where it works
        from app.exports.prediction import Export

        self._export, self._at_once = Export(Path(export)), BATCH

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Answers a batch of files.

        Args:
            batch: Columns of equal length, among them `bytes`, the contents of files.

        Returns:
            All columns but `bytes`; `label` and `error`, strings, one of them empty;
            `probability`, float32, of the likeliest class; and `probabilities`, float32
            `[batch, classes]`; both NaN for a file that could not be read.
        """
        contents = batch[CONTENTS]
        names = batch.get(NAME, np.full(len(contents), ""))
        files = ((Path(str(n)), bytes(c)) for n, c in zip(names, contents, strict=True))
        parts = map(self._export.predict_contents, batches_of(files, self._at_once))
        answers = [answer for part in parts for answer in part]
        nothing = np.full(len(self._export.class_names), np.nan, np.float32)
        shares = [nothing if a.probabilities is None else a.probabilities for a in answers]
        table = np.array(shares, np.float32).reshape(len(answers), len(nothing))
        return {
            **{name: column for name, column in batch.items() if name != CONTENTS},
            "label": np.array([answer.label for answer in answers], object),
            "error": np.array([answer.error for answer in answers], object),
            "probability": table.max(axis=1),
            "probabilities": table,
        }
