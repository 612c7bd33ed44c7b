"""Which backbones can be tried on images, and with which weights. Standard library only."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from app.backbones.backbone import Backbone
from app.backbones.table import BACKBONES, find_backbone
from app.backbones.weights import (
    embedded_file,
    given_file,
    is_cached,
    is_embedded,
)
from app.errors import RecipeError, WeightsError

_log = logging.getLogger("graft")


@dataclass(frozen=True)
class Candidate:
    """A backbone with the weights to try it with.

    Attributes:
        backbone: The network.
        weights: `imagenet`, `embedded`, `none`, or a path.
    """

    backbone: Backbone
    weights: str

    @property
    def name(self) -> str:
        """What `--backbone` takes, and the weights unless they are its usual ones."""
        if self.weights == "embedded":
            return "embedded"
        usual = self.weights == _usual_weights(self.backbone)
        return self.backbone.name if usual else f"{self.backbone.name}={self.weights}"


def at_hand() -> list[Candidate]:
    """Lists the backbones whose trained weights are on this machine, and says which are not."""
    usual = [Candidate(backbone, _usual_weights(backbone)) for backbone in BACKBONES.values()]
    found = [candidate for candidate in usual if _is_here(candidate)]
    missing = [each.name for each in usual if each not in found and each.weights == "imagenet"]
    if missing:
        _log.info(
            "left out, since their weights are not on this machine (--only NAME,NAME downloads"
            " them): %s",
            ", ".join(missing),
        )
    return found


def named(only: str) -> list[Candidate]:
    """Reads a list such as `mobilenet_v2,compact=runs/folder/<id>,mobilenet_025=none`.

    Args:
        only: Names with commas between them, each perhaps followed by `=` and its weights:
            `imagenet`, `embedded`, `none`, or a path without a comma.

    Raises:
        RecipeError: If the list is empty, or a backbone unknown or named twice.
        WeightsError: If given weights are not there. ImageNet weights may be missing: they
            are downloaded when they are loaded.
    """
    words = [word.strip() for word in only.split(",") if word.strip()]
    if not words:
        raise RecipeError("--only names no backbone: `graft backbones` lists them")
    found = [_candidate(word) for word in words]
    names = [candidate.name for candidate in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise RecipeError(f"--only names {twice} twice: keep one of them")
    return found


def _candidate(word: str) -> Candidate:
    name, equals, weights = ("compact=embedded" if word == "embedded" else word).partition("=")
    backbone = find_backbone(name.strip())
    candidate = Candidate(backbone, weights.strip() if equals else _usual_weights(backbone))
    if is_embedded(candidate.weights):
        embedded_file(backbone, candidate.weights)
    elif candidate.weights == "imagenet" and backbone.weights_file is None:
        raise WeightsError(f"there are no ImageNet weights for {name}: try {name}=none")
    elif candidate.weights not in ("imagenet", "none"):
        given_file(candidate.weights)
    return candidate


def _usual_weights(backbone: Backbone) -> str:
    return "imagenet" if backbone.weights_file else "embedded"


def _is_here(candidate: Candidate) -> bool:
    return candidate.weights != "imagenet" or is_cached(candidate.backbone)
