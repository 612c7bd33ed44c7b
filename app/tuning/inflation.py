"""By how much choosing the best of many flatters its validation score. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from app.evaluation.intervals import RESAMPLES


def inflation(right: Sequence[ArrayLike], seed: int = 0) -> float:
    """Estimates how much lower the accuracy of the winner is on images that did not choose it.

    Images are drawn with replacement; the trial that is best on those drawn is measured on those
    that were not. The mean of that, over many draws, is what the winner is expected to reach
    (Tsamardinos, Greasidou and Borboudakis 2018, "Bootstrapping the out-of-sample predictions for
    efficient and accurate cross-validation").

    Args:
        right: For each trial, whether each validation image was named rightly, `[n]`; all trials
            the same images in the same order.
        seed: Of the draws.

    Returns:
        A share: 0.02 means two points of accuracy. 0 if there is nothing to choose from.
    """
    answers = np.stack([np.asarray(each, float) for each in right])
    trials, images = answers.shape
    if trials < 2 or images < 2:
        return 0.0
    random = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES):
        drawn = np.bincount(random.integers(images, size=images), minlength=images)
        left = drawn == 0
        if not left.any():
            continue
        chosen = int((answers @ drawn).argmax())
        found.append(answers[chosen, left].mean())
    return float(answers.mean(axis=1).max() - np.mean(found)) if found else 0.0
