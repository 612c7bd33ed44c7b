"""The trials of a search for TensorBoard's HParams."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api

from app.kinds import Leaf
from app.settings import show
from app.tuning.trials import FAILED, RUNNING, Trial


def write_hparams(trials: Sequence[Trial], folder: Path) -> None:
    """Writes each trial with its settings, accuracy and loss, anew if they were written before.

    Args:
        trials: All of a search.
        folder: For `tensorboard --logdir`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for each in trials:
        of = each.outcome
        if of.status in (FAILED, RUNNING) or of.accuracy is None or of.loss is None:
            continue
        writer = tf.summary.create_file_writer(str(folder / f"{each.number:04d}"))
        with writer.as_default(step=0):
            values = {path: _plain(value) for path, value in each.changes.items()}
            api.hparams(values, trial_id=f"{each.number:04d}")
            tf.summary.scalar("validation accuracy", of.accuracy)
            tf.summary.scalar("validation loss", of.loss)
        writer.close()


def _plain(value: Leaf) -> int | float | str:
    return value if isinstance(value, int | float | str) else show(value)
