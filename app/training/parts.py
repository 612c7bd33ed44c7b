"""A classifier in parts, and in copies that can be tried out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from app.backbones.copying import copy_weights


def plain_copy(model: keras.Model) -> keras.Model:
    """Copies a model with its weights, without dropout and penalties.

    What is left is the same each time. What trains stays as it was set.
    """
    return _copied(model, _without_noise)


def renewed(part: keras.Model, seed: int) -> keras.Model:
    """Copies layers with weights drawn anew, without dropout and penalties; biases start at 0."""
    draws = np.random.SeedSequence(seed).spawn(len(part.layers))
    seeds = {
        layer.name: int(draw.generate_state(1)[0] >> 1)
        for layer, draw in zip(part.layers, draws, strict=True)
    }

    def drawn(layer: Any) -> Any:
        config = _noiseless(layer)
        if "kernel_initializer" in config:
            initializer = config["kernel_initializer"]["config"]
            initializer.update({"seed": seeds[layer.name]} if "seed" in initializer else {})
            config["bias_initializer"] = "zeros"
        return layer.__class__.from_config(config)

    return keras.models.clone_model(part, clone_function=drawn)


def in_float64(part: keras.Model) -> keras.Model:
    """Copies layers with their weights in double precision; every weight trains."""
    inputs = keras.tree.map_structure(
        lambda tensor: keras.Input(tensor.shape[1:], dtype="float64"), part.input
    )
    copy = keras.models.clone_model(part, input_tensors=inputs, clone_function=_doubled)
    for weight, value in zip(copy.weights, part.get_weights(), strict=True):
        weight.assign(value.reshape(weight.shape))
    return copy


@contextmanager
def double_precision() -> Iterator[None]:
    """Lets Keras compute in float64, and puts back what it computed in before."""
    policy, floats = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(floats)
        keras.config.set_dtype_policy(policy)


@contextmanager
def same_randomness() -> Iterator[None]:
    """Puts back the random states that making layers draws from."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _doubled(layer: Any) -> Any:
    if not isinstance(layer, keras.Layer):  # a sum written as `a + b` has no type of its own
        return layer
    config = layer.get_config() | {"dtype": "float64", "trainable": True}
    if config.get("groups", 1) > 1 and config["groups"] == config["filters"]:
        # ConvNeXt's: on a CPU its float64 takes a thousand times as long as that of Keras's
        # layer for this case, which does the same.
        names = ("kernel_size", "strides", "padding", "use_bias", "activation", "name", "dtype")
        return keras.layers.DepthwiseConv2D(**{name: config[name] for name in names})
    return layer.__class__.from_config(config)


def _copied(model: keras.Model, clone: Any) -> keras.Model:
    # Of what was compiled nothing is copied: the optimizer of another model would not do.
    bare = keras.Model(model.input, model.output, name=model.name)
    copy = keras.models.clone_model(bare, clone_function=clone, recursive=True)
    copy_weights(model, copy)
    return copy


def _without_noise(layer: Any) -> Any:
    return layer.__class__.from_config(_noiseless(layer))


def _noiseless(layer: Any) -> dict[str, Any]:
    config: dict[str, Any] = layer.get_config()
    for name in config:
        if name.endswith("_regularizer"):
            config[name] = None
    if isinstance(layer, keras.layers.Dropout):
        config["rate"] = 0.0
    return config
