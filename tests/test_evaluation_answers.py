"""Asking a model: folded or not, its answers are the same."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.evaluation import answers
from app.evaluation.answers import answer


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Convolutions, BatchNorm that has seen something, dropout, three logits."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(8, 3, use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.DepthwiseConv2D(3)(keras.layers.ReLU(6)(x))
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="he_normal")(x))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            random = np.random.default_rng(1)
            layer.set_weights([random.uniform(0.5, 2, each.shape) for each in layer.get_weights()])
    return model


def batches() -> tf.data.Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (21, 16, 16, 3), "uint8")
    return tf.data.Dataset.from_tensor_slices((pixels, np.arange(21))).batch(8)


@pytest.mark.parametrize("many_labels", [False, True])
def test_folded_or_not_the_answers_are_those_of_the_model(
    model: keras.Model, many_labels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_it_is, labels = answer(model, batches(), 3, "asking", many_labels)
    folded: list[int] = []
    fold = answers.fold
    monkeypatch.setattr(answers, "fold", lambda function: folded.append(1) or fold(function))
    monkeypatch.setattr(answers, "PAYS_FROM", 3 * 8 * 16 * 16)
    quicker, same_labels = answer(model, batches(), 3, "asking", many_labels)
    assert folded == [1], "once for all batches"
    pixels = np.concatenate([each for each, _ in batches().as_numpy_iterator()])
    logits = np.asarray(model(pixels, training=False), "float64")
    odds = np.exp(logits)
    wanted = odds / (1 + odds) if many_labels else odds / odds.sum(1, keepdims=True)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(as_it_is, wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(quicker, wanted, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(labels, np.arange(21))
    np.testing.assert_array_equal(same_labels, labels)


def test_a_few_images_are_not_worth_folding_for(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(answers, "fold")
    shares, _ = answer(model, batches(), 3, "asking")
    assert shares.shape == (21, 3)
