"""Checks that a careful engineer makes by hand before training for long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isclose, log
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.backbones.backbone import Backbone
from app.backbones.blocks import around_backbone
from app.backbones.build import DEVIATION, MEAN, MEAN_BGR
from app.recipe import Stage
from app.training.compiling import compile_built
from app.training.losses import Task
from app.training.parts import plain_copy, same_randomness
from app.training.signals import called
from app.training.stopping import between_steps

# Half floats round a pixel to 1/256 of it, which is 0.4 % of the range.
SCALING_ERROR = 0.01
# Of the range: 5 of 256 levels. Photographs have 40 to 80, and what was scaled to 0..1 once too
# often has less than one.
LEAST_SPREAD = 0.02
# From image to image, at the same position, in levels of 256.
LEAST_VARIETY = 1.0
# Of logits. Glorot's initialisation makes them as large as the features (AISTATS 2010); on
# pretrained MobileNets, pooled by their mean, the losses of 60 fresh heads were within what a
# deviation of 2 gives. With more a head is sure of nonsense, and training begins with
# unlearning it.
LARGEST_DEVIATION = 2.0
OVERFITTING_STEPS, OVERFITTING_RATE = 200, 1e-3

Loss = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        name: What was checked.
        passed: Whether it is as it should be.
        number: What was measured.
        said: What the number should be.
        details: Further lines, such as one a layer.
    """

    name: str
    passed: bool
    number: float
    said: str
    details: tuple[str, ...] = ()


def check_inputs(model: keras.Model, backbone: Backbone, pixels: NDArray[np.uint8]) -> Finding:
    """Looks at what enters the backbone: is it scaled as promised, and is there anything to see?

    Args:
        model: From `build_model`.
        backbone: Says how it expects its input to be scaled.
        pixels: Images of 0 to 255, `[images, size, size, 3]`.

    Returns:
        The number is the standard deviation of the flattest channel, as a share of the range.
    """
    entering = called(keras.Model(model.input, around_backbone(model)[0]), pixels, training=False)
    found = np.asarray(entering, "float64")
    low, high = _promised(backbone)
    ordered = pixels[..., ::-1] if backbone.scaling == "bgr_minus_mean" else pixels
    expected = low + ordered / 255.0 * (high - low)
    error = float((np.abs(found - expected) / (high - low)).max())
    shares = (found - low) / (high - low)
    spread = float(shares.std(axis=(0, 1, 2)).min())
    variety = float(shares.std(axis=0).mean() * 255)
    problems = []
    if error > SCALING_ERROR:
        problems.append(f"values are up to {error:.0%} of the range away from what is expected")
    if variety < LEAST_VARIETY:
        problems.append(f"images differ by {variety:.2g} levels of 256: are they all the same?")
    return Finding(
        name="inputs of the backbone",
        passed=not problems and spread >= LEAST_SPREAD,
        number=spread,
        said=f"standard deviation of the flattest channel, as a share of the range that"
        f" {backbone.name} expects: {LEAST_SPREAD:g} or more",
        details=(*problems, *_channels(found, low, high)),
    )


def uniform_loss(stage: Stage, task: Task) -> float:
    """Returns the loss of a network that finds all classes equally likely, by its formula."""
    sigmoids = task.many_labels or task.logits == 1 or stage.loss == "sigmoid_cross_entropy"
    classes = 2 if sigmoids else task.class_count
    missing = 1 - 1 / classes
    if stage.loss == "hinge":
        return 1.0
    if stage.loss == "squared_error":
        return 0.25 if sigmoids else missing
    return log(classes) * (missing**stage.focal_gamma if stage.loss == "focal" else 1.0)


def check_initial_loss(
    model: keras.Model, loss: Loss, uniform: float, pixels: Any, labels: Any
) -> Finding:
    """Compares the loss of a fresh head with that of knowing nothing, such as ln(classes).

    The images push the logits somewhere before anything is learned. A head passes if its loss
    is no larger than what logits with a standard deviation of 2, the same for all images, give
    in 95 of 100 draws, and no smaller than half of the loss of knowing nothing: then it knows
    the classes already, or the loss has another scale.

    Args:
        model: Fresh, unfrozen for its first stage, so that BatchNorm that trains works as it
            will in training.
        loss: Of labels and logits, without smoothing and weights of classes.
        uniform: What equal logits should cost, from `uniform_loss`. Where the last bias is not
            0, such as with the shares of classes, its own loss is taken for that of knowing
            nothing.
        pixels: Images as they are, `[images, size, size, 3]`.
        labels: As `loss` takes them.
    """
    with same_randomness():
        logits = called(plain_copy(model), pixels, training=True)
    found = float(keras.ops.mean(loss(labels, logits)))
    bias = np.asarray(model.layers[-1].bias)
    expected = _mean_loss(loss, labels, bias)
    drawn = np.random.default_rng(0).normal(0, LARGEST_DEVIATION, (100, len(bias)))
    most = float(np.quantile([_mean_loss(loss, labels, bias + each) for each in drawn], 0.95))
    problems = []
    if not bias.any() and not isclose(expected, uniform, rel_tol=1e-3):
        problems.append(f"the loss of equal logits is {expected:.4g} in place of {uniform:.4g}")
    what = "of its bias alone" if bias.any() else "if all classes are equally likely"
    return Finding(
        name="loss of the fresh head",
        passed=expected / 2 <= found <= most and not problems,
        number=found,
        said=f"{expected:.3f} {what}, from {expected / 2:.2f} to {most:.2f}",
        details=(*problems, f"standard deviation of the logits: {float(np.std(logits)):.2f}"),
    )


def check_one_batch(
    model: keras.Model,
    loss: Loss,
    metric: keras.metrics.Metric,
    pixels: Any,
    labels: Any,
    steps: int = OVERFITTING_STEPS,
) -> Finding:
    """Tries to learn a few images by heart; a network that cannot will not learn many either.

    A copy without dropout and penalties is trained by Adam at 1e-3, until its loss is a tenth
    of the first or all images are right.

    Args:
        model: Unfrozen for its last stage; it stays as it is.
        loss: Of labels and logits, without smoothing.
        metric: Named `accuracy`.
        pixels: At most 16 images as they are, `[images, size, size, 3]`.
        labels: As `loss` takes them, of two classes at least.
        steps: After which it is given up.
    """
    with same_randomness():
        copy = plain_copy(model)
    adam = keras.optimizers.Adam(OVERFITTING_RATE)
    compile_built(copy, optimizer=adam, loss=loss, metrics=[metric], jit_compile=False)
    with between_steps() as stopping:
        first = last = copy.train_on_batch(pixels, labels, return_dict=True)
        taken = 0
        while taken < steps and last["loss"] >= first["loss"] / 10 and last["accuracy"] < 1:
            last = copy.train_on_batch(pixels, labels, return_dict=True)
            taken += 1
            stopping.here()
    passed = last["loss"] < first["loss"] / 10 or (taken > 0 and last["accuracy"] == 1)
    return Finding(
        name="one batch learned by heart",
        passed=bool(passed),
        number=float(last["loss"] / first["loss"]),
        said="loss as a share of the first: below 0.1, unless all images are right",
        details=(
            f"{len(pixels)} images, {taken} steps: loss {first['loss']:.3f} to "
            f"{last['loss']:.3f}, accuracy {first['accuracy']:.2f} to {last['accuracy']:.2f}",
        ),
    )


def _promised(backbone: Backbone) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns what becomes of 0 and of 255 in each channel, `[3]`, from the formulas."""
    black, white = np.zeros(3), np.full(3, 255.0)
    if backbone.scaling == "minus_one_to_one":
        return black - 1, black + 1
    if backbone.scaling == "imagenet_mean_and_deviation":
        mean, deviation = np.array(MEAN), np.array(DEVIATION)
        return -mean / deviation, (1 - mean) / deviation
    if backbone.scaling == "bgr_minus_mean":
        return -np.array(MEAN_BGR), white - np.array(MEAN_BGR)
    return black, white


def _channels(
    found: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> list[str]:
    axes = (0, 1, 2)
    rows = zip(
        found.mean(axes), found.std(axes), found.min(axes), found.max(axes), low, high, strict=True
    )
    return [
        f"channel {number}: mean {mean:.3g}, deviation {deviation:.3g}, {least:.3g} to {most:.3g}"
        f" (expected within {bottom:.3g} to {top:.3g})"
        for number, (mean, deviation, least, most, bottom, top) in enumerate(rows)
    ]


def _mean_loss(loss: Loss, labels: Any, logits: NDArray[Any]) -> float:
    """Returns the loss of the same logits for every image."""
    everywhere = np.broadcast_to(logits.astype("float32"), (len(labels), logits.shape[-1]))
    return float(keras.ops.mean(loss(labels, keras.ops.convert_to_tensor(everywhere))))
