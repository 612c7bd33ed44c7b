"""Asking a model: folded or not, its answers are the same."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.evaluation import answers
from app.evaluation.answers import answer
from app.features import filling
from app.features.folding import fold
from app.models import unfreeze
from app.recipe import Head
from tests.small_nets import BACKBONE, small_net


@pytest.fixture(params=["head", "all"])
def model(request: pytest.FixtureRequest) -> keras.Model:
    """Convolutions, BatchNorm that has seen something, dropout, three logits."""
    model = small_net(Head(dropout=0.5, initializer="he_normal"))
    norm = model.get_layer("backbone").get_layer("stem_bn")
    random = np.random.default_rng(1)
    norm.set_weights([random.uniform(0.5, 2, each.shape) for each in norm.get_weights()])
    kernel = model.get_layer("logits").kernel
    kernel.assign(kernel * 10)  # so that the answers differ
    unfreeze(model, BACKBONE, request.param)
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
    for module in (answers, filling):
        monkeypatch.setattr(module, "fold", lambda *of: folded.append(1) or fold(*of))
    monkeypatch.setattr(answers, "PAYS_FROM", 3 * 8 * 16 * 16)
    monkeypatch.setattr(filling, "_kept_forward", {})
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


@pytest.mark.parametrize("model", ["head"], indirect=True)
def test_another_head_on_the_same_frozen_blocks_asks_them_nothing_twice(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "PAYS_FROM", 1)
    monkeypatch.setattr(filling, "_kept_forward", {})
    asked, made = [], filling.forward_of

    def counting(below: keras.Model) -> Any:
        forward = made(below)
        return lambda pixels: asked.append(len(pixels)) or forward(pixels)

    monkeypatch.setattr(filling, "forward_of", counting)
    first, _ = answer(model, batches(), 3, "asking")
    kernel = model.get_layer("logits").kernel
    kernel.assign(np.array(kernel) * 2)
    second, _ = answer(model, batches(), 3, "asking")
    assert asked == [8, 8, 5]
    assert not np.array_equal(first, second)
    monkeypatch.setattr(filling, "_kept_forward", {})
    alone, _ = answer(model, batches(), 3, "asking")
    np.testing.assert_array_equal(alone, second)
    monkeypatch.setattr(filling, "REMEMBERED_BYTES", 0)
    monkeypatch.setattr(filling, "_kept_forward", {})
    for _ in range(2):
        answer(model, batches(), 3, "asking")
    assert asked == [8, 8, 5] * 4


def test_a_few_images_are_not_worth_folding_for(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(answers, "fold")
    shares, _ = answer(model, batches(), 3, "asking")
    assert shares.shape == (21, 3)
