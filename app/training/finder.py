"""The learning-rate range test: at which rate the loss falls fastest, seen in 100 steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.backbones.backbone import Backbone
from app.errors import RunError
from app.recipe import Stage
from app.training.compiling import compile_built
from app.training.losses import Task, build_loss
from app.training.optimizers import build_optimizer, rate_factors
from app.training.stopping import between_steps

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100
RATES = np.geomspace(LOWEST, HIGHEST, STEPS)
# Batches that are kept and gone through again and again.
KEPT = 10
# Steps to each side between which a slope is taken: over fewer it follows single batches.
REACH = 3
# A loss that is so many times its lowest ends the test: what comes can only be worse.
DIVERGED = 4.0
# Share of the loss that some rate must take away; less is no ground for a suggestion.
LEAST_FALL = 0.001


@dataclass(frozen=True)
class Found:
    """What a range test saw.

    Attributes:
        rates: Learning rate of each step, rising.
        losses: Of the batch of each step, before its update.
        smoothed: What the loss over all batches was about then.
        suggestion: Learning rate to train with, to two digits.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float


def find_stage_rate(
    model: keras.Model,
    backbone: Backbone,
    stage: Stage,
    task: Task,
    batches: tf.data.Dataset,
    above: keras.Model | None = None,
) -> Found:
    """Finds the learning rate for a stage, with its own optimizer and loss.

    Args:
        model: As it stands when the stage begins, unfrozen for it; see `find_rate`.
        backbone: The one inside.
        stage: The course of its learning rate and weight averaging play no part.
        task: What is to be learned.
        batches: Training batches of the stage.
        above: Is trained in its place, if given: a part of it that holds all that trains.

    Raises:
        RunError: If no learning rate lowers the loss.
    """
    steady = replace(
        stage, learning_rate=LOWEST, schedule="constant", warmup_epochs=0.0, weight_average="none"
    )
    optimizer = build_optimizer(steady, 1, rate_factors(model, backbone, stage.layer_decay))
    trained = model if above is None else above
    return find_rate(trained, optimizer, build_loss(stage, task), batches)


def find_rate(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss: Callable[[Any, Any], Any],
    batches: tf.data.Dataset,
) -> Found:
    """Trains a model while the learning rate rises from step to step, and puts it back.

    This is the range test of arXiv 1506.01186, with a rate that rises by a factor. One step
    changes the loss by less than batches, and draws of dropout, differ from each other. So
    ten batches are gone through again and again, each time with the same draws: what is left
    of a difference between two losses of one batch is due to what was learned in between.

    Args:
        model: Every variable, also dropout's, is put back bit by bit, whatever happens.
            However it was compiled, it stays so.
        optimizer: A new one whose learning rate is a number; it cannot be used again.
        loss: What is minimised, as for `compile`.
        batches: Of images and labels. Those of the first ten updates are kept in memory.

    Raises:
        RunError: If no learning rate lowers the loss, or it is no number from the start.
    """
    trial = keras.Model(model.inputs, model.outputs, name=model.name)
    # A hundred steps do not make up for the time that XLA takes to compile them.
    # JAX has no other way.
    with_xla = keras.config.backend() == "jax"
    compile_built(trial, optimizer=optimizer, loss=loss, jit_compile=with_xla)
    span = optimizer.gradient_accumulation_steps or 1
    kept = list(batches.repeat().take(KEPT * span).as_numpy_iterator())
    with _put_back(model.variables):
        losses = _losses(trial, [kept[first : first + span] for first in range(0, len(kept), span)])
    rates, smoothed = RATES[: len(losses)], smooth(losses)
    suggestion = suggest(rates, smoothed)
    return Found(tuple(rates.tolist()), tuple(losses), tuple(smoothed.tolist()), suggestion)


def smooth(losses: Sequence[float]) -> NDArray[np.float64]:
    """Returns the mean loss of the steps around each, as many as there are batches.

    Every batch counts once in it, so what remains follows the rate alone. An average over
    the past, such as fastai's exponential one, would lag behind. Near the ends,
    where steps are missing, the mean is of how far each loss is from the batch's first.

    Args:
        losses: Of each step, the kept batches in turn; at least one round of them.
    """
    found = np.asarray(losses, "float64")
    changes, window = found - np.resize(found[:KEPT], len(found)), np.ones(KEPT)
    counts = np.convolve(np.ones(len(found)), window, "same")
    return np.asarray(found[:KEPT].mean() + np.convolve(changes, window, "same") / counts)


def suggest(rates: NDArray[np.float64], smoothed: NDArray[np.float64]) -> float:
    """Returns the learning rate, to two digits, at which the loss falls most steeply.

    Steeply over the logarithm of the rate, on the way to the lowest loss: fastai's "steep",
    after S. Gugger, "How Do You Find A Good Learning Rate" (2018).

    Args:
        rates: Of each step, rising by the same factor.
        smoothed: The loss at each.

    Raises:
        RunError: If it falls by less than 0.1 %.
    """
    first, lowest = float(smoothed[0]), int(smoothed.argmin())
    if not first - smoothed[lowest] > LEAST_FALL * abs(first):
        raise RunError(
            f"no learning rate from {LOWEST:g} to {HIGHEST:g} lowers the loss: it begins at "
            f"{first:.4g} and its lowest is {smoothed[lowest]:.4g}. "
            "See whether labels fit the images, or set learning_rate to a number"
        )
    steps = np.arange(lowest + 1)
    before = smoothed[np.maximum(steps - REACH, 0)]
    after = smoothed[np.minimum(steps + REACH, len(smoothed) - 1)]
    return float(f"{rates[(before - after).argmax()]:.2g}")


def _losses(trial: keras.Model, updates: Sequence[Sequence[Any]]) -> list[float]:
    """Makes one update at each rate, until the loss diverges."""
    weights = {id(weight) for weight in trial.weights}
    draws = [variable for variable in trial.variables if id(variable) not in weights]
    first_draws = _values(draws)
    losses: list[float] = []
    lowest = math.inf
    with between_steps() as stopping:
        for step, rate in enumerate(RATES):
            if step % KEPT == 0:
                _assign(draws, first_draws)
            trial.optimizer.learning_rate = float(rate)
            loss = float(np.mean([trial.train_on_batch(*batch) for batch in updates[step % KEPT]]))
            stopping.here()
            if not math.isfinite(loss):
                break
            losses.append(loss)
            if len(losses) >= KEPT:
                recent = float(np.mean(losses[-KEPT:]))
                lowest = min(lowest, recent)
                if recent > DIVERGED * lowest:
                    break
    if len(losses) < KEPT:
        raise RunError(
            f"the loss is no number at a learning rate of {RATES[len(losses)]:.1g} already: "
            "`graft diagnose` looks for the reason"
        )
    return losses


@contextmanager
def _put_back(variables: Sequence[keras.Variable]) -> Iterator[None]:
    values = _values(variables)
    try:
        yield
    finally:
        _assign(variables, values)


def _values(variables: Sequence[keras.Variable]) -> list[NDArray[Any]]:
    return [np.array(variable) for variable in variables]


def _assign(variables: Sequence[keras.Variable], values: Sequence[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
