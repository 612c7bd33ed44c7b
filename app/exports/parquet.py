"""Predictions as Parquet, made of the CSV file that a prediction can be gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from app.errors import ExportError
from app.files import whole_file

_TEXTS = ("file", "label", "error")


def to_parquet(table: Path, output: Path, columns: Sequence[str]) -> None:
    """Writes the rows of a CSV file as Parquet, block by block, whole or not at all.

    Args:
        table: From `rows`.
        output: To write.
        columns: Its header; file, label and error are strings, and all others float32, null
            where empty.

    Raises:
        ExportError: If a file name is no UTF-8, which Parquet's strings are.
    """
    types = {name: pa.string() if name in _TEXTS else pa.float32() for name in columns}
    converting = pa_csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    parsing = pa_csv.ParseOptions(newlines_in_values=True)
    try:
        with (
            pa_csv.open_csv(table, convert_options=converting, parse_options=parsing) as reader,
            whole_file(output) as temporary,
            pq.ParquetWriter(temporary, reader.schema) as writer,
        ):
            for block in reader:
                writer.write_batch(block)
    except pa.ArrowInvalid as error:
        raise ExportError(
            f"{table} cannot be written as Parquet ({error}): give --output a name that ends in"
            " .csv, and move that file there"
        ) from error
