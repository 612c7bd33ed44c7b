"""Compiling a model for a stage, with a new optimizer."""

from __future__ import annotations

from typing import Any

import keras

from app.backbones.backbone import Backbone
from app.recipe import Stage
from app.training.losses import Task, build_loss, build_metrics
from app.training.optimizers import build_optimizer, rate_factors


def compile_built(model: keras.Model, **options: Any) -> None:
    """Compiles a model and makes the variables of its optimizer.

    TensorFlow traces a step twice whose first trace makes variables.

    Args:
        model: What of it trains is settled.
        **options: Of `keras.Model.compile`.
    """
    model.compile(**options)
    model.optimizer.build(model.trainable_variables)


def compile_for(
    model: keras.Model,
    backbone: Backbone,
    stage: Stage,
    task: Task,
    steps: int,
    jit_compile: bool = False,
    above: keras.Model | None = None,
    at_once: int = 1,
) -> None:
    """Compiles a model for a stage, with a new optimizer.

    Args:
        model: What of it trains was set by `unfreeze`.
        backbone: The one inside.
        stage: Its learning rate is a number.
        task: What is to be learned.
        steps: Training batches an epoch.
        jit_compile: Whether XLA compiles the steps. With JAX it always does: one operation
            after the other is hundreds of times slower.
        above: Is compiled in its place, if given: a part of it that holds all that trains.
        at_once: Steps between two returns to Python.
    """
    factors = rate_factors(model, backbone, stage.layer_decay)
    fitted = model if above is None else above
    compile_built(
        fitted,
        optimizer=build_optimizer(stage, steps, factors),
        loss=build_loss(stage, task),
        metrics=build_metrics(task),
        jit_compile=jit_compile or keras.config.backend() == "jax",
        steps_per_execution=at_once,
    )
