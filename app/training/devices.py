"""Which precision, compiler and devices training uses."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from app.errors import DataError
from app.recipe import Recipe

_log = logging.getLogger("graft")


def gpus() -> list[str]:
    """Names the GPUs that TensorFlow sees, such as `GPU:0`."""
    return [f"GPU:{number}" for number, _ in enumerate(tf.config.list_physical_devices("GPU"))]


def precision(asked: str, gpu_count: int) -> str:
    """Returns the Keras dtype policy: `auto` is mixed on a GPU, where it is quicker."""
    if asked == "auto":
        return "mixed_float16" if gpu_count else "float32"
    return asked


def jit_compile(recipe: Recipe, gpu_count: int) -> bool:
    """Returns whether XLA compiles the training step.

    By default it does on one GPU whose results need not repeat bit by bit: Keras cannot
    have both. On a CPU it is many times slower, and Keras does without it when several
    devices share a step.
    """
    if recipe.jit_compile is not None:
        return recipe.jit_compile
    return gpu_count == 1 and not recipe.deterministic


def set_up(recipe: Recipe) -> None:
    """Sets seeds, dtype policy and threads, and makes operations repeatable if asked to."""
    keras.utils.set_random_seed(recipe.seed)
    if recipe.deterministic:
        _fix_threads(recipe.threads)
        tf.config.experimental.enable_op_determinism()
    elif gpus():
        _log.info("not deterministic: the same seed may give other weights next time")
    if jit_compile(recipe, len(gpus())):
        _log.info("XLA compiles the steps")
    policy = precision(recipe.precision, len(gpus()))
    keras.config.set_dtype_policy(policy)
    if policy != "float32":
        _log.info("precision: %s", policy)


def _fix_threads(count: int) -> None:
    """Divides operations among a fixed number of threads, however many cores there are.

    Each thread adds up a part of a sum, so their number decides how it is rounded.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
    except RuntimeError:  # TensorFlow is at work already, in a program that calls us
        at_work = tf.config.threading.get_intra_op_parallelism_threads()
        if at_work != count:
            _log.info(
                "TensorFlow was started with %s threads, not %d: on a machine with other cores"
                " the weights may differ in their last bits",
                at_work or "as many as there are cores",
                count,
            )


def check_shares(counts: Mapping[str, int]) -> None:
    """Makes sure that every device has an image of each split to work on.

    Raises:
        DataError: If there are more GPUs than images; an empty share breaks a step.
    """
    for split, count in counts.items():
        if count < len(gpus()):
            raise DataError(
                f"{count} {split} images cannot be shared by {len(gpus())} GPUs:"
                " show fewer with CUDA_VISIBLE_DEVICES, or add images"
            )


def strategy_over(devices: Sequence[str]) -> contextlib.AbstractContextManager[Any]:
    """Returns the scope to build and compile in: mirrored over several devices."""
    if len(devices) < 2:
        return contextlib.nullcontext()
    _log.info("every batch is shared by %d devices", len(devices))
    scope: contextlib.AbstractContextManager[Any] = tf.distribute.MirroredStrategy(devices).scope()
    return scope
