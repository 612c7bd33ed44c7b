"""What is worth searching in any recipe that does not say so itself. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.recipe import Recipe

# How far the learning rate is searched on both sides of the one that is written.
_FACTOR = 10.0
_LEARNING_RATE = 1e-3  # where the recipe says auto


def default_search(recipe: Recipe) -> Callable[[Any], None]:
    """Makes the `search(hp)` of a recipe that has none.

    Learning rate, label smoothing, weight decay, optimizer and unfreezing of each stage; hidden
    layers and dropout of the head; strength of the augmentation. What the recipe says itself is
    always among the choices. Of a multi-stage recipe the last stage's optimizer is searched,
    since the first has only the head to train.
    """

    def search(hp: Any) -> None:
        names = list(recipe.stages)
        for name, stage in recipe.stages.items():
            path = f"stages.{name}"
            rate = stage.learning_rate
            middle = _LEARNING_RATE if isinstance(rate, str) else max(rate, 1e-7)
            hp.Float(f"{path}.learning_rate", middle / _FACTOR, middle * _FACTOR, sampling="log")
            if stage.unfreeze != "head":
                depths = dict.fromkeys([stage.unfreeze, "top:1", "top:2", "0.5", "all"])
                hp.Choice(f"{path}.unfreeze", list(depths))
        last = recipe.stages[names[-1]]
        _search_last(hp, f"stages.{names[-1]}", last.optimizer, last.loss != "hinge")
        hp.Float("head.dropout", 0.0, 0.5, step=0.1)
        # Hidden layers that start from zeros stay there.
        if not recipe.head.funnel and recipe.head.initializer != "zeros":
            written = ",".join(map(str, recipe.head.units)) or "()"
            hp.Choice("head.units", list(dict.fromkeys([written, "()", "128", "512"])))
        strengths = dict.fromkeys([recipe.augmentation.preset, "none", "light", "medium"])
        hp.Choice("augmentation.preset", list(strengths))

    return search


def _search_last(hp: Any, path: str, optimizer: str, smooths: bool) -> None:
    hp.Choice(f"{path}.optimizer", list(dict.fromkeys([optimizer, "adam", "adamw", "nadam"])))
    hp.Float(f"{path}.weight_decay", 1e-6, 1e-1, sampling="log")
    if smooths:
        hp.Float(f"{path}.label_smoothing", 0.0, 0.2, step=0.05)
