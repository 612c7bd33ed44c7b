"""Which precision, compiler and devices training uses."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from app.errors import DataError, EngineError
from app.pretrain_recipe import Pretraining
from app.recipe import Recipe

# Steps that a GPU makes before Python looks in again. A quick step takes a GPU some
# milliseconds and the return to Python one; a bar should still move a few times a second.
AT_ONCE = 16
_log = logging.getLogger("graft")


# Both say alike how they are computed.
Computed = Recipe | Pretraining


def gpus() -> list[str]:
    """Names the GPUs that Keras computes on, such as `GPU:0`."""
    if keras.config.backend() == "jax":
        return [name.upper() for name in keras.distribution.list_devices() if name[:3] == "gpu"]
    return [f"GPU:{number}" for number, _ in enumerate(tf.config.list_physical_devices("GPU"))]


def precision(asked: str, gpu_count: int) -> str:
    """Returns the Keras dtype policy: `auto` is mixed on a GPU, where it is quicker."""
    if asked == "auto":
        return "mixed_float16" if gpu_count else "float32"
    return asked


def jit_compile(recipe: Computed, gpu_count: int) -> bool:
    """Returns whether XLA compiles the training step.

    By default it does on one GPU whose results need not repeat bit by bit: Keras cannot
    have both with TensorFlow. On a CPU it is many times slower, and Keras does without it when
    several devices share a step. JAX has no other way, see `compile_for`.
    """
    if recipe.jit_compile is not None:
        return recipe.jit_compile
    return gpu_count == 1 and not recipe.deterministic


def steps_at_once(steps: int, gpu_count: int) -> int:
    """Returns how many steps are made between two returns to Python: 1 unless on one GPU.

    A step of a CPU takes far longer than the return. Several devices that share each step
    cannot: Keras 3.15 then fails within TensorFlow, of a placeholder that is not fed.

    Args:
        steps: An epoch. Keras would begin the next one if they were not a multiple.
        gpu_count: How many share a step.

    Returns:
        The largest divisor of `steps` up to `AT_ONCE`.
    """
    most = min(steps, AT_ONCE) if gpu_count == 1 else 1
    return next(count for count in range(most, 0, -1) if steps % count == 0)


def sent_ahead(batches: tf.data.Dataset, devices: Sequence[str]) -> tf.data.Dataset:
    """Has the next batch copied to the GPU while this one is computed on.

    Args:
        batches: As they leave the CPU. How many there are is not known afterwards.
        devices: Where they go to. With none or several nothing is done: TensorFlow sends each
            of several its share. Nor with JAX, for which Keras does so.
    """
    if len(devices) != 1 or keras.config.backend() != "tensorflow":
        return batches
    return batches.apply(tf.data.experimental.copy_to_device(f"/{devices[0]}")).prefetch(1)


def set_up(recipe: Computed) -> None:
    """Sets seeds, dtype policy and threads, and makes operations repeatable if asked to.

    Raises:
        EngineError: If JAX cannot have the GPU, or several would have to share a step with it.
    """
    _settle_engine(recipe)
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


def _settle_engine(recipe: Computed) -> None:
    """Leaves the GPUs to JAX if that computes; TensorFlow still reads the images."""
    if keras.config.backend() != "jax":
        return
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError as error:  # in a program that calls us
        raise EngineError("TensorFlow has taken the GPU: let graft begin before it") from error
    if recipe.deterministic:
        # Is read when JAX first looks for devices, which is not before the next line.
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if len(gpus()) > 1:
        raise EngineError(
            f"with JAX a step is not shared, and there are {len(gpus())} GPUs: show one with"
            " CUDA_VISIBLE_DEVICES=0, or train with KERAS_BACKEND=tensorflow"
        )


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
