"""What is fitted: a backbone with the layers of a method, and BYOL's slower copy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from app import Pretraining, Unlabelled
from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.pretraining.networks import BatchStatistics, FollowSlowly, Network, build_network

COMPACT = find_backbone("compact")
ROWS = np.random.default_rng(0).normal(3.0, 2.0, (6, 5, 5, 4)).astype(np.float32)


def test_batch_statistics_are_those_of_the_batch_and_are_kept_nowhere() -> None:
    norm, plain = BatchStatistics(), keras.layers.BatchNormalization()
    wanted = plain(ROWS, training=True)
    for training in (True, False):
        np.testing.assert_allclose(norm(ROWS, training=training), wanted, rtol=1e-4, atol=1e-5)
    assert not np.asarray(norm.moving_mean).any()


@pytest.fixture(scope="module")
def network() -> Network:
    recipe = Pretraining(
        name="a", data=Unlabelled(generated=1.0), method="byol", projection=(16, 8), steps=4
    )
    return build_network(recipe, COMPACT, build_backbone(COMPACT, 32, "none")[0])


def test_the_slower_copy_of_byol_sees_whole_batches_and_does_not_train(network: Network) -> None:
    (follow,) = network.callbacks
    slow = follow.slow
    norms = [
        each for each in slow._flatten_layers() if isinstance(each, keras.layers.BatchNormalization)
    ]
    assert len(norms) > 10
    assert {type(each) for each in norms} == {BatchStatistics}
    assert not slow.trainable_variables
    pixels = np.random.default_rng(1).uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    rows = np.asarray(network.model(pixels, training=True))
    # At first the copy is the network that learns: of its rows the second half are those.
    online = keras.Model(network.model.input, network.model.get_layer("projection_2").output)
    np.testing.assert_allclose(rows[:, 8:], online(pixels, training=True), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("taken", "momentum"), [(0, 0.99), (2, 0.995), (4, 1.0)])
def test_the_slower_copy_follows_by_a_momentum_that_rises_to_1(taken: int, momentum: float) -> None:
    online, slow = (keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]) for _ in "ab")
    online.compile("sgd")
    online.optimizer.iterations.assign(taken)
    follow = FollowSlowly(online, slow, steps=4)
    follow.set_model(online)
    wanted = [
        momentum * behind + (1 - momentum) * ahead
        for behind, ahead in zip(slow.get_weights(), online.get_weights(), strict=True)
    ]
    follow.on_train_batch_end(0)
    for found, weights in zip(slow.get_weights(), wanted, strict=True):
        np.testing.assert_allclose(found, weights, rtol=1e-6)
