"""Right gradients pass in float64, wrong ones do not, and nothing is changed by looking."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.models import unfreeze
from app.recipe import Head, Stage
from app.training.gradient_check import LARGEST_ERROR, check_gradients
from app.training.losses import Task, build_loss
from tests.small_nets import BACKBONE, pictures, small_net, state

TASK = Task((3, 3, 3), 9)
LOSS = build_loss(Stage(label_smoothing=0.1), TASK)
HEAD = Head(units=(8,), dropout=0.5)


class WrongGradient(keras.layers.Layer):
    """Hands its input on, and a gradient that is wrong by a factor back."""

    def __init__(self, factor: float, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        @tf.custom_gradient
        def identity(x: Any) -> Any:
            return tf.identity(x), lambda upstream: upstream * self.factor

        return identity(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


def errors(details: tuple[str, ...]) -> dict[str, float]:
    return {name: float(error) for name, error in (line.split(": ") for line in details)}


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge"])
def test_the_gradients_of_keras_are_right(loss: str) -> None:
    stage = Stage(loss=loss, class_weights="balanced")  # type: ignore[arg-type]  # a parameter is any text
    made = build_loss(stage, Task((2, 3, 4), 9))
    found = check_gradients(small_net(HEAD), BACKBONE, made, *pictures(3))
    assert found.passed
    assert 0 < found.number < LARGEST_ERROR
    assert list(errors(found.details)) == [
        "(input of the block)",
        "stage1_block1_conv",
        "hidden_1",
        "logits",
    ]


@pytest.mark.parametrize("factor", [1.01, 0.0, float("nan")])
def test_a_layer_of_the_head_with_a_wrong_gradient_is_caught(factor: float) -> None:
    base = small_net(HEAD).get_layer("backbone")
    pixels = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(pixels)
    x = keras.layers.Dense(8, name="hidden")(base(x))
    x = WrongGradient(factor)(x)
    model = keras.Model(pixels, keras.layers.Dense(3, name="logits")(x))
    found = check_gradients(model, BACKBONE, LOSS, *pictures(2))
    assert not found.passed
    by_layer = errors(found.details)
    # The layer above the wrong one is right, which shows where to look.
    assert by_layer["logits"] < LARGEST_ERROR
    assert not by_layer["hidden"] < 1e-3


def test_a_layer_of_the_last_block_with_a_wrong_gradient_is_caught() -> None:
    def activation(name: str) -> keras.layers.Layer:
        return keras.layers.ReLU(name=name)

    pixels = keras.Input((16, 16, 3))
    x = activation("stem_relu")(keras.layers.Conv2D(4, 3, name="stem_conv")(pixels))
    x = keras.layers.Conv2D(4, 3, name="stage1_block1_conv")(x)
    x = WrongGradient(1.1, name="stage1_block1_wrong")(x)
    x = keras.layers.GlobalAveragePooling2D(name="features_pooled")(x)
    base = keras.Model(pixels, x, name="backbone")
    outer = keras.Input((16, 16, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(outer)
    model = keras.Model(outer, keras.layers.Dense(3, name="logits")(base(scaled)))
    by_layer = errors(check_gradients(model, BACKBONE, LOSS, *pictures(2)).details)
    assert by_layer["stage1_block1_conv"] == pytest.approx(0.1 / 2.1, rel=0.01)
    assert by_layer["(input of the block)"] == pytest.approx(0.1 / 2.1, rel=0.01)
    assert by_layer["logits"] < LARGEST_ERROR


def test_what_trains_and_what_normalises_makes_no_difference() -> None:
    model = small_net(HEAD)
    unfreeze(model, BACKBONE, "all", train_batch_norm=True)
    numbers = [check_gradients(model, BACKBONE, LOSS, *pictures(2)).number]
    unfreeze(model, BACKBONE, "head")
    numbers.append(check_gradients(model, BACKBONE, LOSS, *pictures(2)).number)
    assert numbers[0] == numbers[1]


def test_features_that_vanish_make_no_false_alarm() -> None:
    model = small_net(HEAD)
    model.get_layer("backbone").get_layer("stem_bn").gamma.assign(np.full(4, 1e-9))
    assert check_gradients(model, BACKBONE, LOSS, *pictures(2)).passed


def test_checking_gradients_changes_nothing() -> None:
    model = small_net(HEAD)
    before = state(model), model.compiled, [v.trainable for v in model.variables]
    drawn = np.random.get_state()[1].tolist()
    check_gradients(model, BACKBONE, LOSS, *pictures(2))
    assert (state(model), model.compiled, [v.trainable for v in model.variables]) == before
    assert np.random.get_state()[1].tolist() == drawn
    assert keras.config.floatx() == keras.config.dtype_policy().name == "float32"


def test_a_loss_that_rounds_to_float32_is_refused() -> None:
    def rounding(labels: Any, logits: Any) -> Any:
        return tf.cast(LOSS(labels, logits), tf.float32)

    with pytest.raises(ValueError, match="the loss is float32"):
        check_gradients(small_net(HEAD), BACKBONE, rounding, *pictures(2))
