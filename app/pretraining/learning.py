"""The steps of pretraining, with checkpoints and measurements between them."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.errors import CollapseError, RunError
from app.files import write_whole
from app.pretrain_recipe import Pretraining
from app.pretraining.collapse import spread_of
from app.pretraining.losses import loss_of
from app.pretraining.networks import Network
from app.pretraining.probing import Probe
from app.pretraining.views import Views
from app.recipe import Stage
from app.training import devices
from app.training.board import Board
from app.training.callbacks import bring_back
from app.training.checkpoints import Checkpoint, Checkpoints
from app.training.compiling import compile_built
from app.training.optimizers import build_optimizer
from app.training.resuming import arrays_of, put_back
from app.training.stopping import between_steps
from app.working import duration

# How many measurements in a row may find that the features have collapsed: the first steps of
# some methods pass through that.
PATIENCE = 3
# Of so many views it is measured how features differ.
MEASURED_VIEWS = 128
_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Learning:
    """All that the steps need.

    Attributes:
        recipe: What to do.
        network: Is trained in place.
        views: What it learns from.
        probe: Images with labels to measure on; None for none.
        checkpoints: Where it can go on after it was killed.
        directory: For `history.csv` and `tensorboard/`.
    """

    recipe: Pretraining
    network: Network
    views: Views
    probe: Probe | None
    checkpoints: Checkpoints
    directory: Path

    def learn(self) -> None:
        """Takes all steps that are left, from the last checkpoint on if there is one.

        Raises:
            RunError: If the loss is no number, the features collapse, or a checkpoint cannot be
                written.
        """
        recipe, model = self.recipe, self.network.model
        self._compile()
        saved = self.checkpoints.latest()
        done, rows = 0, []
        if saved:
            put_back(model, model, saved)
            done, rows = int(saved.state["step"]), list(saved.state["rows"])
            _log.info("going on from the checkpoint after step %d", done)
        with tqdm(total=recipe.steps, initial=done, unit=" steps", disable=None) as bar:
            while done < recipe.steps:
                count = min(recipe.checkpoint_steps, recipe.steps - done)
                began = time.monotonic()
                loss = self._fit(done, count, bar)
                done += count
                seconds = (time.monotonic() - began) / count
                rows.append(self._measured(done, loss, seconds))
                self._say(rows)
                state = {"step": done, "rows": rows}
                self.checkpoints.write(done, Checkpoint(state, arrays_of(model, model)))

    def _compile(self) -> None:
        recipe = self.recipe
        stage = Stage(
            epochs=1,
            learning_rate=recipe.learning_rate,
            optimizer=recipe.optimizer,
            schedule="cosine",
            warmup_epochs=f"{100 * recipe.warmup:g}%",
            weight_decay=recipe.weight_decay,
        )
        compile_built(
            self.network.model,
            optimizer=build_optimizer(stage, recipe.steps),
            loss=loss_of(recipe.method, recipe.temperature, recipe.descriptors),
            jit_compile=devices.jit_compile(recipe, len(devices.gpus()))
            or keras.config.backend() == "jax",
        )

    def _fit(self, first: int, count: int, bar: Any) -> float:
        moved = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: bar.update())
        callbacks = [moved, keras.callbacks.TerminateOnNaN(), *self.network.callbacks]
        with between_steps() as stopping:
            history = self.network.model.fit(
                devices.sent_ahead(self.views.batches(first, count), devices.gpus()),
                steps_per_epoch=count,
                callbacks=[*callbacks, stopping],
                shuffle=False,
                verbose=0,
            )
        loss = float(history.history["loss"][-1])
        if not math.isfinite(loss):
            raise RunError(
                f"the loss became {loss} between step {first} and {first + count}: begin again"
                " in a new directory with a lower learning_rate"
            )
        return loss

    @cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        each = self.recipe.data.batch_size  # one view of each image, the first half of the rows
        batches = self.views.batches(0, math.ceil(MEASURED_VIEWS / each)).as_numpy_iterator()
        firsts = [pixels[:each] for pixels, _ in batches]
        pixels: NDArray[np.uint8] = np.concatenate(firsts)[:MEASURED_VIEWS]
        return pixels

    def _measured(self, step: int, loss: float, seconds: float) -> dict[str, float]:
        bring_back(self.network.model)
        features = self.network.features
        found = spread_of(features.predict(self._pixels, batch_size=64, verbose=0))
        row = {
            "step": step,
            "loss": loss,
            "deviation": found.deviation,
            "effective_rank": found.rank,
            "seconds_a_step": seconds,
            "collapsed": float(found.collapsed),
        }
        if self.probe:
            lost = math.isnan(found.deviation)
            row["probe"] = math.nan if lost else self.probe.accuracy(features)
        return row

    def _say(self, rows: list[dict[str, float]]) -> None:
        row = rows[-1]
        probe = f"  probe {row['probe']:.3f}" if "probe" in row else ""
        with tqdm.external_write_mode():
            _log.info(
                "step %d/%d  loss %.3f  effective rank %.1f%s  %s left",
                row["step"],
                self.recipe.steps,
                row["loss"],
                row["effective_rank"],
                probe,
                duration(row["seconds_a_step"] * (self.recipe.steps - row["step"])),
            )
            if row["collapsed"]:
                _log.warning(
                    "the features have collapsed: their deviation is %.3f, their effective rank"
                    " %.2f; where all images look the same there is nothing to transfer",
                    row["deviation"],
                    row["effective_rank"],
                )
        self._write(rows)
        stayed = len(rows) >= PATIENCE and all(each["collapsed"] for each in rows[-PATIENCE:])
        if stayed or (row["collapsed"] and row["step"] == self.recipe.steps):
            when = (
                f"have stayed collapsed for {PATIENCE} measurements" if stayed else "end collapsed"
            )
            raise CollapseError(
                f"the features {when}, so that no model is kept: begin again in a new directory"
                " with a lower learning_rate, or another method"
            )

    def _write(self, rows: list[dict[str, float]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.directory / "history.csv", text.getvalue())
        told = {key: value for key, value in rows[-1].items() if key not in ("step", "collapsed")}
        self._board.tell(int(rows[-1]["step"]), told)

    @cached_property
    def _board(self) -> Board:
        return Board(self.directory / "tensorboard")
