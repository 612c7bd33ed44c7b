"""BatchNorm as one operation: the same numbers, the same gradients, the same moving statistics."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.backbones.build import build_backbone
from app.backbones.compact import BATCH_NORM_MOMENTUM, build_compact
from app.backbones.table import find_backbone
from app.pretraining.fusing import FusedBatchNormalization, copy_to_train

MAPS = np.random.default_rng(0).normal(2.0, 3.0, (8, 5, 6, 4)).astype(np.float32)


def trained(norm: keras.layers.Layer) -> tuple[np.ndarray, list[np.ndarray]]:
    norm.build(MAPS.shape)
    norm.set_weights([np.full(4, value, np.float32) for value in (1.5, -0.5, 0.0, 1.0)])
    with tf.GradientTape() as tape:
        found = norm(tf.constant(MAPS), training=True)
        loss = tf.reduce_sum(found**3)
    gradients = tape.gradient(loss, [each.value for each in norm.trainable_variables])
    return found.numpy(), [each.numpy() for each in gradients]


def test_outputs_gradients_and_moving_statistics_are_those_of_keras() -> None:
    ours = FusedBatchNormalization(momentum=0.9)
    theirs = keras.layers.BatchNormalization(momentum=0.9)
    (found, slopes), (wanted, others) = trained(ours), trained(theirs)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    for slope, other in zip(slopes, others, strict=True):
        np.testing.assert_allclose(slope, other, rtol=1e-3, atol=1e-3 * np.abs(other).max())
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-4)
    of_a_sample = MAPS[..., 0].size / (MAPS[..., 0].size - 1)
    moved = (np.array(theirs.moving_variance) - 0.9) * of_a_sample
    np.testing.assert_allclose(np.array(ours.moving_variance) - 0.9, moved, rtol=1e-4)


@pytest.mark.parametrize("shape", [(6, 4), (6, 3, 4)])
def test_what_is_no_feature_map_is_normalised_by_keras(shape: tuple[int, ...]) -> None:
    rows = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    found = FusedBatchNormalization()(rows, training=True)
    np.testing.assert_allclose(found, keras.layers.BatchNormalization()(rows, training=True))


def test_the_copy_answers_as_before_and_gives_its_weights_back() -> None:
    base = build_compact(32)
    copy = copy_to_train(base)
    assert not any(isinstance(each, FusedBatchNormalization) for each in base.layers)
    norms = [each for each in copy.layers if isinstance(each, FusedBatchNormalization)]
    assert len(norms) == sum("bn" in each.name for each in base.layers)
    pixels = np.random.default_rng(2).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(copy(pixels, training=False), base(pixels, training=False))
    copy(pixels, training=True)
    assert not np.allclose(copy(pixels, training=False), base(pixels, training=False))
    base.set_weights(copy.get_weights())
    np.testing.assert_allclose(copy(pixels, training=False), base(pixels, training=False))


def test_statistics_of_the_copy_are_soon_those_of_the_last_steps() -> None:
    base = build_backbone(find_backbone("mobilenet_v2_035"), 32, "none")[0]
    copy = copy_to_train(base)
    of_copy, of_base = (
        {each.momentum for each in of.layers if isinstance(each, keras.layers.BatchNormalization)}
        for of in (copy, base)
    )
    assert of_copy == {BATCH_NORM_MOMENTUM}
    assert of_base == {0.999}
    norm = next(each for each in copy.layers if isinstance(each, FusedBatchNormalization))
    maps = np.random.default_rng(3).normal(5.0, 0.1, (8, 16, 16, norm.gamma.shape[0]))
    for _ in range(100):
        norm(maps.astype(np.float32), training=True)
    np.testing.assert_allclose(norm.moving_mean, maps.mean(axis=(0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(norm.moving_variance, maps.var(axis=(0, 1, 2)), rtol=0.02)
