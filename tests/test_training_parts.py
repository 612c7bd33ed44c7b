"""Copies of a classifier: what they keep, and what they leave behind."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest

from app.backbones.blocks import around_backbone
from app.models import unfreeze
from app.recipe import Head
from app.training.parts import (
    double_precision,
    in_float64,
    plain_copy,
    renewed,
    same_randomness,
)
from tests.small_nets import BACKBONE, pictures, small_net

HEAD = Head(units=(8,), dropout=0.5, l2=0.1)


def test_a_classifier_is_cut_before_and_after_its_backbone() -> None:
    model = small_net(HEAD)
    entering, base, features = around_backbone(model)
    pixels = pictures(3)[0]
    scaled = keras.Model(model.input, entering)(pixels)
    np.testing.assert_allclose(scaled, pixels / 127.5 - 1, atol=1e-6)
    logits = keras.Model(features, model.output)(base(scaled))
    np.testing.assert_allclose(logits, model(pixels), rtol=1e-5, atol=1e-6)


def test_a_plain_copy_answers_alike_and_shares_nothing() -> None:
    model = small_net(HEAD)
    unfreeze(model, BACKBONE, "stage1_block1")
    copy = plain_copy(model)
    pixels = pictures(3)[0]
    np.testing.assert_array_equal(copy(pixels), model(pixels))
    assert [v.path for v in copy.trainable_variables] == [v.path for v in model.trainable_variables]
    copy.get_layer("logits").kernel.assign(np.zeros((8, 3)))
    assert np.asarray(model.get_layer("logits").kernel).any()


def test_a_plain_copy_has_no_noise_and_no_penalty() -> None:
    model = small_net(HEAD)
    unfreeze(model, BACKBONE, "head")  # BatchNorm that trains would differ in training mode
    copy, pixels = plain_copy(model), pictures(3)[0]
    np.testing.assert_array_equal(copy(pixels, training=True), model(pixels))
    assert (np.asarray(model(pixels, training=True)) != np.asarray(model(pixels))).any()
    assert model.losses
    assert not copy.losses


def test_layers_are_drawn_anew_from_a_seed_whatever_they_were() -> None:
    model = small_net(Head(units=(8,), output_bias="priors"), class_counts=(1, 2, 3))
    head = keras.Model(around_backbone(model)[2], model.output)
    kernels = [
        np.asarray(renewed(head, seed).get_layer("logits").kernel).tolist() for seed in (1, 1, 2)
    ]
    assert kernels[0] == kernels[1] != kernels[2]
    assert not np.asarray(renewed(head, 1).get_layer("logits").bias).any()
    assert np.asarray(model.get_layer("logits").bias).any()


def test_layers_in_float64_compute_more_precisely_but_the_same() -> None:
    model = small_net(HEAD)
    head = keras.Model(around_backbone(model)[2], model.output)
    values = np.random.default_rng(0).normal(size=(4, 6))
    with double_precision():
        found = in_float64(head)(values)
        assert keras.config.floatx() == "float64"
    assert keras.config.floatx() == "float32"
    assert keras.config.dtype_policy().name == "float32"
    kernels = [
        [np.asarray(each, "float64") for each in model.get_layer(name).weights]
        for name in ("hidden_1", "logits")
    ]
    exact = np.maximum(values @ kernels[0][0] + kernels[0][1], 0) @ kernels[1][0] + kernels[1][1]
    np.testing.assert_allclose(np.asarray(found), exact, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(head(values.astype("float32")), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("strides", "padding"), [(1, "same"), (2, "valid")])
def test_a_convolution_channel_by_channel_stays_what_it_is(strides: int, padding: str) -> None:
    image = keras.Input((6, 6, 5))
    layer = keras.layers.Conv2D(5, 3, strides, padding, groups=5, activation="gelu")
    part = keras.Model(image, layer(image) * 2)
    part.layers[1].bias.assign(np.arange(5.0))
    values = np.random.default_rng(0).normal(size=(2, 6, 6, 5))
    found = in_float64(part)(values)
    assert found.dtype == "float64"
    np.testing.assert_allclose(found, part(values.astype("float32")), rtol=1e-5, atol=1e-5)


def test_random_states_are_put_back() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist()
    with same_randomness():
        keras.layers.Dropout(0.5)
        np.random.random()
        assert random.getstate() != before[0]
    assert before == (random.getstate(), np.random.get_state()[1].tolist())
