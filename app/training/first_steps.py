"""The first steps of a stage, looked at layer by layer: gradients, updates, activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.backbones.backbone import Backbone
from app.backbones.blocks import base_of, blocks
from app.training.diagnosis import Finding
from app.training.signals import (
    activations,
    dead_units,
    gradients,
    saturated_share,
    update_ratios,
)

# Gradients should keep their size from layer to layer (Glorot and Bengio, AISTATS 2010; for
# rectifiers He et al., arXiv 1502.01852). Those of the blocks of pretrained MobileNets are
# within a factor of a hundred, since blocks differ in size; beyond 10,000 no learning rate
# suits both ends.
LEAST_GRADIENT, LARGEST_GRADIENT = 1e-4, 1e4
# The rule of thumb is 1e-3 a step (A. Karpathy, CS231n notes, "Neural Networks Part 3"). A
# hundred times that takes ten steps to replace what a layer has learned; below 1e-7 it is lost
# in the rounding of float32, 6e-8. A fresh layer has nothing to lose: it may move by its size.
LEAST_UPDATE, LARGEST_UPDATE, LARGEST_FRESH_UPDATE = 1e-7, 0.1, 1.0
# With half of its units dead or half of its values saturated, a layer works as if it were
# half as wide (He et al. 2015 and Glorot and Bengio 2010 show how initialisation brings that
# about; neither gives a limit).
LARGEST_SHARE = 0.5
# Adam's first step is as large for every weight; the third shows what it comes to.
STEPS = 3
# Images whose activations are in memory at a time.
AT_ONCE = 16

Loss = Callable[[Any, Any], Any]


def check_first_steps(
    stage: str,
    model: keras.Model,
    backbone: Backbone,
    loss: Loss,
    optimizer: keras.optimizers.Optimizer,
    pixels: NDArray[np.uint8],
    labels: Any,
) -> list[Finding]:
    """Takes three steps of a stage on one batch, and looks at what they did.

    Args:
        stage: Its name.
        model: Unfrozen for the stage; it is trained, so give a copy without dropout.
        backbone: The one inside.
        loss: Of labels and logits.
        optimizer: Fresh, at the rate of the stage's peak.
        pixels: `[images, size, size, 3]`.
        labels: As `loss` takes them.

    Returns:
        Gradients, updates, dead units and saturated activations. All are about layers that
        train; activations count as trained if their block is.
    """
    optimizer.build(model.trainable_variables)
    for _ in range(STEPS):
        before = {variable.path: np.array(variable) for variable in model.trainable_variables}
        found = gradients(model, loss, pixels, labels, training=True)
        optimizer.apply(list(found.values()), model.trainable_variables)
    after = {variable.path: np.array(variable) for variable in model.trainable_variables}
    trained, head = _trained(model, backbone)
    norms = {path: float(np.linalg.norm(gradient)) for path, gradient in found.items()}
    return [
        _gradients(stage, trained, norms),
        _updates(stage, trained, head, update_ratios(before, after)),
        *_activations(stage, model, trained, pixels),
    ]


def _trained(
    model: keras.Model, backbone: Backbone
) -> tuple[dict[str, list[keras.Layer]], set[str]]:
    """Returns the layers of each part that trains, in order, and which parts are the head's.

    A part is a block of the backbone, or a layer of the head.
    """
    above = model.layers[model.layers.index(base_of(model)) + 1 :]
    head = {layer.name: [layer] for layer in above}
    inside = {
        name: layers
        for name, layers in blocks(model, backbone).items()
        if any(layer.trainable_variables for layer in layers)
    }
    return inside | head, set(head)


def _gradients(
    stage: str, trained: Mapping[str, list[keras.Layer]], norms: Mapping[str, float]
) -> Finding:
    """Compares the gradient of the lowest block that trains with that of the last layer."""
    by_part = {}
    for name, layers in trained.items():
        paths = [variable.path for layer in layers for variable in layer.trainable_variables]
        if paths:
            by_part[name] = math.hypot(*(norms[path] for path in paths))
    first, *_, last = [*by_part.values(), *by_part.values()]  # the head alone may be one layer
    ratio = first / last if last else math.nan
    finite = all(math.isfinite(norm) for norm in norms.values())
    return Finding(
        name=f"{stage}: gradient of the lowest block",
        passed=finite and LEAST_GRADIENT <= ratio <= LARGEST_GRADIENT,
        number=ratio,
        said=f"its norm over that of the last layer: {LEAST_GRADIENT:g} (else it vanishes) to"
        f" {LARGEST_GRADIENT:g} (else it explodes)",
        details=tuple(f"{name}: {norm:.2e}" for name, norm in by_part.items()),
    )


def _updates(
    stage: str,
    trained: Mapping[str, list[keras.Layer]],
    head: set[str],
    ratios: Mapping[str, float],
) -> Finding:
    """Judges kernels only: biases and scales begin at 0 or 1, and their size says nothing."""
    found = {
        name: [
            ratios[variable.path]
            for layer in layers
            for variable in layer.trainable_variables
            if len(variable.shape) > 1 and variable.path in ratios
        ]
        for name, layers in trained.items()
    }
    limits = {name: LARGEST_FRESH_UPDATE if name in head else LARGEST_UPDATE for name in found}
    # Not a number counts as too large.
    wrong = [
        ratio
        for name, of_part in found.items()
        for ratio in of_part
        if not LEAST_UPDATE <= ratio <= limits[name]
    ]
    every = [ratio for of_part in found.values() for ratio in of_part]
    return Finding(
        name=f"{stage}: update of the kernels in a step",
        passed=not wrong,
        number=max(wrong or every, default=0.0),
        said=f"relative to their size: {LEAST_UPDATE:g} to {LARGEST_UPDATE:g}, fresh ones to"
        f" {LARGEST_FRESH_UPDATE:g}; 1e-3 is usual",
        details=tuple(
            f"{name}: {min(of_part):.1e} to {max(of_part):.1e}"
            for name, of_part in found.items()
            if of_part
        ),
    )


def _activations(
    stage: str,
    model: keras.Model,
    trained: Mapping[str, list[keras.Layer]],
    pixels: NDArray[np.uint8],
) -> list[Finding]:
    names = {layer.name for layers in trained.values() for layer in layers}
    dead: dict[str, NDArray[np.bool_]] = {}
    saturated: dict[str, float] = {}
    for first in range(0, len(pixels), AT_ONCE):
        some = pixels[first : first + AT_ONCE]
        for name, activation in activations(model, some, training=True).items():
            if name in names:
                dead[name] = dead.get(name, True) & dead_units(activation)
                share = saturated_share(activation) * len(some) / len(pixels)
                saturated[name] = saturated.get(name, 0.0) + share
    return [
        _shares(f"{stage}: dead units", {name: float(each.mean()) for name, each in dead.items()}),
        _shares(f"{stage}: saturated activations", saturated),
    ]


def _shares(name: str, shares: Mapping[str, float]) -> Finding:
    return Finding(
        name=name,
        passed=all(share <= LARGEST_SHARE for share in shares.values()),
        number=max(shares.values(), default=0.0),
        said=f"largest share in a layer that trains: at most {LARGEST_SHARE:g}",
        details=tuple(f"{layer}: {share:.2f}" for layer, share in shares.items() if share),
    )
