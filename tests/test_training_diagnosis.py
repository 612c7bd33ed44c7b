"""What the checks by hand let pass, and what they do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from app.models import build_model, unfreeze
from app.recipe import Head, Stage
from app.training.diagnosis import (
    check_initial_loss,
    check_inputs,
    check_one_batch,
    uniform_loss,
)
from app.training.losses import Task, build_loss, build_metrics
from tests.small_nets import BACKBONE, pictures, small_net, state

TASK = Task((8, 8, 8), 24)
LOSS = build_loss(Stage(), TASK)


def metric(task: Task = TASK) -> keras.metrics.Metric:
    return build_metrics(task)[0]


def scaled_net(scaling: Any) -> keras.Model:
    pixels = keras.Input((16, 16, 3))
    base = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(pixels), name="backbone")
    return build_model(replace(BACKBONE, scaling=scaling), base, Head(), 3, 0)


SCALINGS = [
    "inside",
    "minus_one_to_one",
    "imagenet_mean_and_deviation",
    "bgr_minus_mean",
]


@pytest.mark.parametrize("expected", SCALINGS)
@pytest.mark.parametrize("built", SCALINGS)
def test_inputs_pass_only_if_scaled_as_the_backbone_expects(built: str, expected: Any) -> None:
    wanted = replace(BACKBONE, scaling=expected)
    found = check_inputs(scaled_net(built), wanted, pictures(8)[0])
    assert found.passed == (built == expected)
    # The noise has a deviation of 40 of 255, and the brightnesses one of 53.
    if found.passed:
        assert found.number == pytest.approx(66 / 255, rel=0.15)


def test_each_channel_is_told() -> None:
    pixels = pictures(8)[0]
    found = check_inputs(scaled_net("imagenet_mean_and_deviation"), BACKBONE, pixels)
    red = (pixels[..., 0] / 255 - 0.485) / 0.229
    wanted = f"mean {red.mean():.3g}, deviation {red.std():.3g}, {red.min():.3g} to"
    assert any(line.startswith("channel 0: ") and wanted in line for line in found.details)


def faint(pixels: np.ndarray) -> np.ndarray:
    """As if they had been scaled to 0..1 once before, and more."""
    return (pixels / 255).round().astype("uint8")


@pytest.mark.parametrize(
    "spoilt",
    [
        np.zeros_like,
        lambda pixels: np.full_like(pixels, 200),
        faint,
        lambda pixels: np.broadcast_to(pixels[:1], pixels.shape),
    ],
    ids=["black", "grey", "faint", "all the same"],
)
def test_images_with_nothing_to_see_fail(spoilt: Any) -> None:
    pixels = pictures(8)[0]
    assert check_inputs(small_net(), BACKBONE, pixels).passed
    assert not check_inputs(small_net(), BACKBONE, spoilt(pixels)).passed


@pytest.mark.parametrize(
    ("loss", "counts", "many", "expected"),
    [
        ("cross_entropy", (8,) * 7, False, np.log(7)),
        ("cross_entropy", (8, 8), False, np.log(2)),
        ("cross_entropy", (8,) * 7, True, np.log(2)),
        ("sigmoid_cross_entropy", (8,) * 7, False, np.log(2)),
        ("focal", (8,) * 4, False, 0.75**3 * np.log(4)),
        ("focal", (8, 8), False, 0.5**3 * np.log(2)),
        ("hinge", (8,) * 4, False, 1.0),
        ("hinge", (8, 8), False, 1.0),
        ("squared_error", (8,) * 4, False, 0.75**2 + 3 * 0.25**2),
        ("squared_error", (8, 8), False, 0.25),
    ],
)
def test_the_loss_of_knowing_nothing_is_that_of_equal_logits(
    loss: Any, counts: tuple[int, ...], many: bool, expected: float
) -> None:
    task, stage = Task(counts, sum(counts), many), Stage(loss=loss, focal_gamma=3.0)
    assert uniform_loss(stage, task) == pytest.approx(expected)
    labels = np.eye(7, dtype="float32")[:5] if many else np.arange(5) % len(counts)
    measured = np.asarray(build_loss(stage, task)(labels, np.zeros((5, task.logits), "float32")))
    assert measured.mean() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_a_fresh_head_has_the_loss_of_knowing_nothing(classes: int) -> None:
    task = Task((8,) * classes, 8 * classes)
    pixels, labels = pictures(24, classes)
    found = check_initial_loss(
        small_net(classes=classes), build_loss(Stage(), task), np.log(classes), pixels, labels
    )
    assert found.passed
    assert found.number == pytest.approx(np.log(classes), rel=0.2)


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "sigmoid_cross_entropy"])
def test_a_head_with_a_deviation_of_ten_fails(loss: Any) -> None:
    model, stage = small_net(), Stage(loss=loss)
    convolution = model.get_layer("backbone").get_layer("stage1_block1_conv")
    convolution.bias.assign(np.ones(6))  # features of about 1, as those of trained networks
    kernel = np.random.default_rng(0).normal(0, 10, (6, 3))
    model.get_layer("logits").kernel.assign(kernel)
    made = build_loss(stage, TASK)
    found = check_initial_loss(model, made, uniform_loss(stage, TASK), *pictures(24))
    assert not found.passed
    assert found.number > 3 * uniform_loss(stage, TASK)


def test_a_head_that_knows_the_classes_already_fails() -> None:
    model = small_net()
    unfreeze(model, BACKBONE, "all", train_batch_norm=True)
    model.compile(keras.optimizers.Adam(0.03), LOSS)
    for _ in range(60):
        model.train_on_batch(*pictures(24))
    assert not check_initial_loss(model, LOSS, np.log(3), *pictures(24)).passed


def test_a_loss_of_another_scale_fails() -> None:
    def summed(labels: Any, logits: Any) -> Any:
        return 24 * LOSS(labels, logits)

    assert not check_initial_loss(small_net(), summed, np.log(3), *pictures(24)).passed


def test_a_head_that_starts_from_the_shares_of_classes_has_their_loss() -> None:
    counts = (20, 2, 2)
    model = small_net(Head(output_bias="priors"), class_counts=counts)
    pixels, _ = pictures(24)
    labels = np.repeat([0, 1, 2], counts)
    shares = np.array(counts) / 24
    found = check_initial_loss(model, LOSS, np.log(3), pixels, labels)
    assert found.passed
    assert found.said.startswith(f"{-(shares * np.log(shares)).sum():.3f} of its bias alone")


@pytest.mark.parametrize("unfrozen", ["head", "all"])
def test_a_few_images_can_be_learned_by_heart(unfrozen: str) -> None:
    model = small_net(Head(units=(64,), dropout=0.9, l2=0.1))
    unfreeze(model, BACKBONE, unfrozen)
    before = state(model)
    found = check_one_batch(model, LOSS, metric(), *pictures(6))
    assert found.passed
    assert state(model) == before


def test_images_that_contradict_their_labels_cannot_be_learned() -> None:
    pixels, labels = pictures(6)
    same = np.broadcast_to(pixels[:1], pixels.shape)
    found = check_one_batch(small_net(), LOSS, metric(), same, labels, steps=60)
    assert not found.passed
    assert found.number > 0.5
    assert "60 steps" in found.details[0]


def test_a_head_without_gradients_cannot_learn() -> None:
    head = Head(units=(8,), initializer="zeros")
    found = check_one_batch(small_net(head), LOSS, metric(), *pictures(6), steps=30)
    assert not found.passed


def test_many_labels_are_learned_by_heart_too() -> None:
    task = Task((4, 4, 4), 8, many_labels=True)
    pixels, labels = pictures(8, 4)
    targets = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], "float32")[labels]
    model = small_net(Head(units=(64,)), many_labels=True)
    unfreeze(model, BACKBONE, "all")
    loss = build_loss(Stage(), task)
    assert check_one_batch(model, loss, metric(task), pixels, targets).passed
