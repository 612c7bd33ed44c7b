"""What TensorBoard is told."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

_log = logging.getLogger("graft")


class Board:
    """Writes numbers where TensorBoard finds them, from the first of them on."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._writer: Any = None

    def tell(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes the numbers of a step; one who only looks on does not end a training.

        Args:
            step: Their place on the axis.
            scalars: By name.
        """
        try:
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(self._folder)
            with self._writer.as_default(step=step):
                for name, value in scalars.items():
                    tf.summary.scalar(name, value)
            self._writer.flush()
        except tf.errors.OpError as error:
            _log.warning("%s cannot be written: %s", self._folder, error.message)
