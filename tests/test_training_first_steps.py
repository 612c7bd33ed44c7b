"""The first steps of a stage: each kind of trouble is made, and found where it was made."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from app.models import unfreeze
from app.recipe import Head, Stage
from app.training.diagnosis import Finding
from app.training.first_steps import check_first_steps
from app.training.losses import Task, build_loss
from app.training.optimizers import build_optimizer
from tests.small_nets import BACKBONE, pictures, small_net

LOSS = build_loss(Stage(), Task((8, 8, 8), 24))
KINDS = ("gradient", "update", "dead", "saturated")


def net(unfrozen: str = "all", **head: Any) -> keras.Model:
    model = small_net(Head(**{"dropout": 0.0, **head}))
    unfreeze(model, BACKBONE, unfrozen)
    return model


def check(model: keras.Model, **stage: Any) -> dict[str, Finding]:
    optimizer = build_optimizer(Stage(**{"learning_rate": 1e-3, **stage}), 3)
    found = check_first_steps("tune", model, BACKBONE, LOSS, optimizer, *pictures(24))
    assert [each.name.startswith("tune: ") for each in found] == [True] * 4
    return dict(zip(KINDS, found, strict=True))


def failed(findings: dict[str, Finding]) -> set[str]:
    return {kind for kind, finding in findings.items() if not finding.passed}


def layer(model: keras.Model, name: str) -> keras.Layer:
    return model.get_layer("backbone").get_layer(name)


@pytest.mark.parametrize("unfrozen", ["head", "all"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_healthy_start_passes(unfrozen: str, optimizer: str) -> None:
    found = check(net(unfrozen, units=(32,)), optimizer=optimizer)
    assert not failed(found)


def test_the_gradient_is_told_for_each_part_that_trains() -> None:
    found = check(net("stage1_block1", units=(8,)))["gradient"]
    parts = [line.split(": ") for line in found.details]
    assert [name for name, _ in parts] == ["stage1_block1", "hidden_1", "logits"]
    norms = [float(norm) for _, norm in parts]
    assert found.number == pytest.approx(norms[0] / norms[-1], rel=0.02)


def test_a_gradient_that_vanishes_below_the_head_is_found() -> None:
    model = net()
    model.get_layer("logits").kernel.assign(np.full((6, 3), 1e-7))
    found = check(model, learning_rate=1e-12)  # which leaves the kernel as small as it is
    assert "gradient" in failed(found)
    assert 0 < found["gradient"].number < 1e-4


def test_a_gradient_that_explodes_below_the_head_is_found() -> None:
    model = net()
    layer(model, "stage1_block1_conv").bias.assign(np.ones(6))
    kernel = np.random.default_rng(0).normal(0, 1e6, (6, 3))
    model.get_layer("logits").kernel.assign(kernel)
    found = check(model, learning_rate=1e-12)
    assert "gradient" in failed(found)
    assert found["gradient"].number > 1e4


def test_a_gradient_that_is_no_number_is_found() -> None:
    model = net()
    model.get_layer("logits").kernel.assign(np.full((6, 3), np.nan))
    assert {"gradient", "update"} <= failed(check(model))


def test_a_head_that_starts_from_zeros_gets_gradients_from_its_second_step_on() -> None:
    assert not failed(check(net(initializer="zeros")))


@pytest.mark.parametrize("rate", [0.1, 1e-9])
def test_a_learning_rate_far_from_the_usual_is_found(rate: float) -> None:
    found = check(net(units=(32,)), learning_rate=rate)
    assert "update" in failed(found)


def test_fresh_layers_may_move_further_than_loaded_ones() -> None:
    """The update of Adam is about the rate, whatever the gradient: the size of kernels decides."""
    model = net(units=(8,))
    model.get_layer("hidden_1").kernel.assign(np.full((6, 8), 0.03))
    assert "update" not in failed(check(model, learning_rate=1e-2))
    layer(model, "stem_conv").kernel.assign(np.full((3, 3, 3, 4), 0.03))
    assert "update" in failed(check(model, learning_rate=1e-2))


def test_updates_of_a_plain_step_are_rate_times_gradient_over_weight() -> None:
    found = check(net("head"), optimizer="sgd", learning_rate=1e-3)
    norm = float(found["gradient"].details[0].split(": ")[1])
    model = net("head")
    size = float(np.linalg.norm(np.asarray(model.get_layer("logits").kernel)))
    # The norm is that of kernel and bias together.
    assert 0 < found["update"].number < 1e-3 * norm / size * 1.01


def test_dead_units_are_found_in_layers_that_train_only() -> None:
    for unfrozen, dead in (("all", True), ("head", False)):
        model = net(unfrozen)
        layer(model, "stem_bn").beta.assign([-1e4, -1e4, -1e4, 0.0])
        found = check(model)
        assert ("dead" in failed(found)) is dead
        assert found["dead"].number == (0.75 if dead else 0)


def test_units_are_dead_only_if_they_are_in_all_images() -> None:
    model = net()
    pixels, labels = pictures(24)
    pixels[8:] = 0  # images are looked at 16 at a time
    layer(model, "stage1_block1_conv").bias.assign(np.full(6, -0.5))
    shares = []
    for first in (0, 8):
        optimizer = build_optimizer(Stage(learning_rate=1e-12), 3)
        found = check_first_steps(
            "tune", model, BACKBONE, LOSS, optimizer, pixels[first:], labels[first:]
        )
        told = dict(line.split(": ") for line in found[KINDS.index("dead")].details)
        shares.append(float(told.get("stage1_block1_conv", "0")))
    assert shares[0] < shares[1] == 1


def test_saturated_activations_are_found() -> None:
    model = net(units=(8,), activation="tanh")
    found = check(model)
    assert not failed(found)
    kernel = np.random.default_rng(0).normal(0, 1e4, (6, 8))
    model.get_layer("hidden_1").kernel.assign(kernel)
    found = check(model)
    assert "saturated" in failed(found)
    assert 0.9 < found["saturated"].number <= 1
