"""Whether heads that learned random labels answer no better than chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import sqrt
from typing import Any

import keras
import numpy as np

from app.training.compiling import compile_built
from app.training.diagnosis import Finding
from app.training.parts import renewed, same_randomness
from app.training.stopping import between_steps

STEPS, RATE = 50, 1e-2
# Student's t, one-sided 99 %, 9 degrees of freedom.
DRAWS, STUDENT = 10, 2.821

Loss = Callable[[Any, Any], Any]


def check_random_labels(
    head: keras.Model,
    loss: Loss,
    metric: keras.metrics.Metric,
    draws: Iterable[tuple[Any, Any]],
    validation: tuple[Any, Any],
    chance: float,
) -> Finding:
    """Trains fresh heads on labels drawn at random, and looks whether they beat chance.

    All classes are equally likely to be drawn, so heads prefer none of them on average, and
    the accuracy on true labels is 1/classes on average, whatever the images and the shares of
    classes are. A single head may be far from it: where classes are well apart, it gives whole
    classes the same wrong name. Hence several draws, and an interval from their own spread.
    True labels that reach the head in another way than as its labels, a head that was
    trained before, and a metric that flatters are above it. Images that are in both splits
    are not noticed: their labels are random as well.

    Args:
        head: From features to logits; copies with new weights are trained.
        loss: Of labels and logits.
        metric: Named `accuracy`.
        draws: `DRAWS` times features `[images, ...]` and labels, as the training pipeline
            gives them when its labels were drawn at random.
        validation: Features and true labels.
        chance: The accuracy of guessing.
    """
    with same_randomness():
        trained, heads = renewed(head, 0), [renewed(head, 1 + number) for number in range(DRAWS)]
    # Compiled once, for that takes longer than all the steps on these few layers.
    adam = keras.optimizers.Adam(RATE)
    compile_built(trained, optimizer=adam, loss=loss, metrics=[metric], jit_compile=False)
    found = np.array(
        [
            _accuracy(trained, fresh, draw, validation)
            for fresh, draw in zip(heads, draws, strict=True)
        ]
    )
    count = len(validation[0])
    # Of n images no mean accuracy is surer than that of n * draws independent guesses.
    guessing = sqrt(chance * (1 - chance) / (count * len(found)))
    most = chance + STUDENT * max(float(found.std(ddof=1)) / sqrt(len(found)), guessing)
    weak = most > (1 + chance) / 2
    said = f"accuracy on {count} validation images: chance is {chance:.3f}, at most {most:.3f}"
    return Finding(
        name="labels drawn at random",
        passed=bool(found.mean() <= most),
        number=float(found.mean()),
        said=said + (", a weak test: there are few images" if weak else ""),
        details=(f"of {len(found)} heads: {', '.join(f'{each:.2f}' for each in found)}",),
    )


def _accuracy(
    trained: keras.Model,
    fresh: keras.Model,
    draw: tuple[Any, Any],
    validation: tuple[Any, Any],
) -> float:
    """Trains from fresh weights, and forgets it all but for the accuracy."""
    trained.set_weights(fresh.get_weights())
    start = [np.array(variable) for variable in trained.optimizer.variables]
    with between_steps() as stopping:
        for _ in range(STEPS):
            trained.train_on_batch(*draw)
            stopping.here()
    for variable, value in zip(trained.optimizer.variables, start, strict=True):
        variable.assign(value)
    return float(trained.test_on_batch(*validation, return_dict=True)["accuracy"])
