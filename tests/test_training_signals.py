"""Activations, gradients and updates: what is measured, and that measuring changes nothing."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest

from app.recipe import Head
from app.training.signals import (
    Activation,
    activations,
    dead_share,
    gradient_norms,
    saturated_share,
    update_ratios,
)
from tests.small_nets import pictures, small_net, state

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
HEAD = Head(units=(8,), activation="tanh", dropout=0.5, l2=0.1)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    made = small_net(HEAD)
    made.compile(keras.optimizers.Adam(0.1), LOSS)
    made.train_on_batch(*pictures(6))
    return made


def array(model: keras.Model, layer: str, weight: str = "kernel") -> np.ndarray:
    holder = model if layer in [each.name for each in model.layers] else model.layers[2]
    return np.asarray(getattr(holder.get_layer(layer), weight), "float64")


def features(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    scaled = pixels.astype("float64") / 127.5 - 1
    return np.asarray(model.get_layer("backbone")(scaled, training=False), "float64")


def test_all_activations_are_seen_those_inside_convolutions_and_in_the_head_too(
    model: keras.Model,
) -> None:
    found = activations(model, pictures(4)[0])
    assert list(found) == ["stem_relu", "stage1_block1_conv", "hidden_1_tanh"]
    assert found["stem_relu"].values.shape == (4, 7, 7, 4)


def test_activations_are_those_of_inference(model: keras.Model) -> None:
    pixels = pictures(4)[0]
    found = activations(model, pixels)
    given = features(model, pixels)
    inside = found["stage1_block1_conv"].values
    np.testing.assert_allclose(inside.mean(axis=(1, 2)), given, rtol=1e-4, atol=1e-6)
    hidden = np.tanh(given @ array(model, "hidden_1") + array(model, "hidden_1", "bias"))
    np.testing.assert_allclose(found["hidden_1_tanh"].values, hidden, rtol=1e-4, atol=1e-5)


def test_in_training_mode_batch_norm_takes_the_statistics_of_the_batch(
    model: keras.Model,
) -> None:
    found = activations(model, pictures(32)[0], training=True)["stem_relu"].values
    gamma, beta = array(model, "stem_bn", "gamma"), array(model, "stem_bn", "beta")
    # Of a normalised channel the positive part: about 0.4 of its deviation on average.
    assert (abs(found.mean(axis=(0, 1, 2)) - beta - 0.4 * gamma) < 0.3).all()
    assert (found != activations(model, pictures(32)[0])["stem_relu"].values).any()


@pytest.mark.parametrize("training", [False, True])
def test_looking_changes_nothing(model: keras.Model, training: bool) -> None:
    before, drawn = state(model), (random.getstate(), np.random.get_state()[1].tolist())
    pixels, labels = pictures(4)
    activations(model, pixels, training)
    gradient_norms(model, LOSS, pixels, labels, training)
    assert state(model) == before
    assert drawn == (random.getstate(), np.random.get_state()[1].tolist())


def test_units_that_are_zero_everywhere_are_dead() -> None:
    net = small_net()
    beta = np.array([-1e4, 0, -1e4, -1e4], "float32")
    net.get_layer("backbone").get_layer("stem_bn").beta.assign(beta)
    assert dead_share(activations(net, pictures(8)[0])["stem_relu"]) == 0.75


def test_only_rectifiers_die() -> None:
    zeros = np.zeros((4, 5), "float32")
    assert dead_share(Activation(zeros, rectifies=True)) == 1
    assert dead_share(Activation(zeros, -1.0, 0.0, 1.0)) == 0
    once = zeros.copy()
    once[3, 2] = 0.1
    assert dead_share(Activation(once, rectifies=True)) == 0.8


@pytest.mark.parametrize(
    ("name", "values", "share"),
    [
        ("tanh", [-0.98, -0.96, 0.0, 0.96, 0.98], 0.4),
        ("sigmoid", [0.014, 0.016, 0.5, 0.984, 0.986], 0.4),
        ("hard_sigmoid", [0.0, 0.5, 0.5, 0.6, 1.0], 0.4),
        ("relu6", [0.0, 0.0, 5.9, 5.92, 6.0], 0.4),
        ("relu", [0.0, 0.0, 6.0, 60.0, 600.0], 0.0),
        ("gelu", [-0.1, 0.0, 6.0, 60.0, 600.0], 0.0),
    ],
)
def test_values_near_an_end_of_their_range_are_saturated(
    name: str, values: list[float], share: float
) -> None:
    head = Head(units=(8,), activation="tanh")
    net = small_net(head, activation=lambda of: keras.layers.Activation(name, name=of))
    seen = activations(net, pictures(2)[0])["stem_relu"]
    exact = Activation(np.array([values], "float32"), seen.low, seen.middle, seen.high)
    assert saturated_share(exact) == pytest.approx(share)
    assert seen.rectifies == (name in ("relu", "relu6"))


def test_relu_layers_are_taken_as_they_are_set() -> None:
    def made(name: str) -> keras.Layer:
        return keras.layers.ReLU(max_value=3.0, negative_slope=0.1, name=name)

    seen = activations(small_net(activation=made), pictures(2)[0])["stem_relu"]
    assert (seen.low, seen.high, seen.rectifies) == (None, 3.0, False)


def test_the_norms_of_the_last_layer_follow_from_the_formula_of_the_gradient(
    model: keras.Model,
) -> None:
    pixels, labels = pictures(5)
    kernel = array(model, "logits")
    hidden = activations(model, pixels)["hidden_1_tanh"].values.astype("float64")
    logits = hidden @ kernel + array(model, "logits", "bias")
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = (shares - np.eye(3)[labels]) / 5
    norms = gradient_norms(model, LOSS, pixels, labels)
    expected = np.linalg.norm(hidden.T @ wrong + 2 * 0.1 * kernel)
    assert norms["logits/kernel"] == pytest.approx(expected, rel=1e-4)
    assert norms["logits/bias"] == pytest.approx(np.linalg.norm(wrong.sum(axis=0)), rel=1e-4)


def test_a_variable_that_the_loss_does_not_depend_on_has_no_gradient() -> None:
    net = small_net(Head(dropout=0.0))
    net.get_layer("logits").kernel.assign(np.zeros((6, 3)))
    norms = gradient_norms(net, LOSS, *pictures(4))
    assert norms["stem_conv/kernel"] == 0
    assert norms["logits/kernel"] > 0


def test_update_ratios_are_norms_over_norms() -> None:
    before = {"a": np.array([[3.0, 4.0]]), "b": np.zeros(2)}
    after = {"a": np.array([[3.0, 4.5]]), "b": np.ones(2)}
    assert update_ratios(before, after) == {"a": 0.1}
