"""Tests of the folded forward pass."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context  # the only way to the graph that really runs

from app.backbones.build import build_backbone, scale_pixels
from app.backbones.table import find_backbone
from app.features.folding import fold

# One of each family.
FAMILIES = (
    "mobilenet",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "efficientnet_v2_b0",
    "resnet50",
    "resnet50_v2",
    "densenet121",
    "inception_v3",
    "xception",
    "nasnet_mobile",
    "convnext_tiny",
)


def concrete(model: keras.Model) -> Any:
    """Makes the function that is folded."""
    call = tf.function(lambda x: model(x, training=False), autograph=False)
    return call.get_concrete_function(tf.TensorSpec((None, *model.input.shape[1:])))


def randomise(model: keras.Model) -> keras.Model:
    """Fills biases, and what BatchNorm holds, with numbers that are not 0 or 1.

    They are not far from it: else a network multiplies the rounding of its first layers.
    """
    random = np.random.default_rng(0)
    for variable in model.variables:
        if variable.path.endswith(("variance", "gamma")):
            variable.assign(random.uniform(0.8, 1.25, variable.shape))
        elif variable.path.endswith(("mean", "beta", "bias")):
            variable.assign(random.normal(0, 0.1, variable.shape))
    return model


def backbone_of(name: str) -> keras.Model:
    """Builds pixels, scaling and backbone at its smallest size."""
    keras.utils.set_random_seed(0)
    backbone = find_backbone(name)
    base, _ = build_backbone(backbone, backbone.min_size, "none")
    pixels = keras.Input(base.input.shape[1:])
    return randomise(keras.Model(pixels, base(scale_pixels(pixels, backbone))))


def batch(model: keras.Model, count: int = 3) -> np.ndarray:
    """Draws pixels for a network."""
    shape = (count, *model.input.shape[1:])
    return np.random.default_rng(1).uniform(0, 255, shape).astype("float32")


def difference(model: keras.Model, compiled: bool = False) -> float:
    """Returns the greatest difference between model and folded graph, relative to the greatest."""
    pixels = batch(model)
    before = np.asarray(model(pixels, training=False), np.float64)
    (after,) = fold(concrete(model), compiled)(tf.constant(pixels))
    return float(np.abs(after - before).max() / np.abs(before).max())


def operations(model: keras.Model) -> Counter[str]:
    """Counts the operations of the graph as TensorFlow runs it, the names of fused ones joined."""
    folded = fold(concrete(model))
    context.context().enable_graph_collection()
    folded(tf.constant(batch(model)))
    graphs = context.context().export_run_metadata().function_graphs
    context.context().disable_graph_collection()
    nodes = graphs[-1].partition_graphs[0].node
    return Counter("+".join((n.op, *map(bytes.decode, n.attr["fused_ops"].list.s))) for n in nodes)


def chain(*layers: keras.layers.Layer, size: int = 8, channels: int = 3) -> keras.Model:
    """Builds a network of some layers in a row."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((size, size, channels))
    x = pixels
    for layer in layers:
        x = layer(x)
    return randomise(keras.Model(pixels, x))


@pytest.fixture(scope="module")
def mobilenet() -> keras.Model:
    """MobileNetV2 at 32 pixels; read only."""
    return backbone_of("mobilenet_v2_035")


def test_folded_mobilenet_v2_equals_the_model_but_for_rounding(mobilenet: keras.Model) -> None:
    assert difference(mobilenet) < 1e-5


def test_folded_compact_network_equals_the_model_but_for_rounding() -> None:
    assert difference(backbone_of("compact")) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_equals_its_model_but_for_rounding(name: str) -> None:
    assert difference(backbone_of(name)) < 1e-5


def test_all_batch_norm_of_mobilenet_v2_is_folded_and_fused(mobilenet: keras.Model) -> None:
    ran = operations(mobilenet)

    # 17 depthwise convolutions, 35 others of which 10 end in a sum with a shortcut and 7
    # in neither sum nor ReLU. What is left scales the pixels.
    assert {op: ran[op] for op in ran if op not in ("Const", "_Arg", "_Retval")} == {
        "_MklNativeFusedDepthwiseConv2dNative+BiasAdd+Relu6": 17,
        "_MklNativeFusedConv2D+BiasAdd+Relu6": 18,
        "_MklNativeFusedConv2D+BiasAdd+Add": 10,
        "_MklNativeFusedConv2D+BiasAdd": 7,
        "Mul": 1,
        "AddV2": 1,
    }


def test_folded_convolution_equals_the_formula_in_float64() -> None:
    conv = keras.layers.Conv2D(5, 1)
    norm = keras.layers.BatchNormalization(epsilon=1e-3)
    model = chain(conv, norm)
    pixels = batch(model)
    kernel, bias = (np.asarray(v, np.float64) for v in conv.get_weights())
    gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in norm.get_weights())

    (folded,) = fold(concrete(model))(tf.constant(pixels))

    expected = pixels.astype(np.float64) @ kernel[0, 0] + bias
    expected = (expected - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(folded, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("zeros", [((0, 1), (0, 1)), ((1, 1), (1, 1)), ((2, 0), (1, 3))])
@pytest.mark.parametrize("depthwise", [False, True])
def test_zeros_around_the_input_are_kept(
    size: int, zeros: tuple[tuple[int, int], tuple[int, int]], depthwise: bool
) -> None:
    layer = keras.layers.DepthwiseConv2D if depthwise else keras.layers.Conv2D
    arguments = {} if depthwise else {"filters": 4}
    conv = layer(kernel_size=3, strides=2, padding="valid", **arguments)
    pad = keras.layers.ZeroPadding2D(zeros)
    assert difference(chain(pad, conv, keras.layers.ReLU(), size=size)) < 1e-5


def test_a_depthwise_convolution_of_several_copies_takes_up_batch_norm() -> None:
    conv = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)
    model = chain(conv, keras.layers.BatchNormalization())
    assert difference(model) < 1e-5
    assert not operations(model).keys() & {"Mul", "AddV2"}


def test_a_convolution_of_each_channel_is_not_left_to_the_compiler() -> None:
    model = chain(
        keras.layers.Conv2D(6, 3, groups=3, padding="same"),
        keras.layers.BatchNormalization(),
        keras.layers.Conv2D(6, 3, groups=6),
    )
    assert difference(model) < 1e-5
    ran = operations(model)
    assert sum(ran[op] for op in ran if "Depthwise" in op) == 2
    assert not any("Call" in op for op in ran)


def test_what_a_shortcut_takes_unscaled_stays_unscaled() -> None:
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(pixels)
    model = keras.Model(pixels, keras.layers.BatchNormalization()(x) + x)
    assert difference(randomise(model)) < 1e-5


def test_batch_norm_before_a_convolution_and_a_dense_layer_work() -> None:
    model = chain(
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Conv2D(4, 3),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2),
    )
    assert difference(model) < 1e-5


def test_several_outputs_and_a_convolution_as_the_last_layer_work() -> None:
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(pixels)
    model = randomise(keras.Model(pixels, [x, keras.layers.BatchNormalization()(x)]))
    taken = batch(model)

    folded = fold(concrete(model))(tf.constant(taken))

    for one, other in zip(folded, model(taken, training=False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-2)


def test_compiled_graph_equals_the_model_and_holds_weights_as_arguments() -> None:
    model = chain(keras.layers.Conv2D(64, 5), keras.layers.BatchNormalization())
    assert difference(model, compiled=True) < 1e-5


def test_weights_changed_later_change_nothing() -> None:
    model = chain(keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization())
    folded = fold(concrete(model))
    pixels = tf.constant(batch(model))
    (before,) = folded(pixels)
    model.layers[1].kernel.assign(model.layers[1].kernel * 2)
    np.testing.assert_array_equal(folded(pixels)[0], before)
