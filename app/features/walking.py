"""How many views of an image the epochs of a stage walk through. Standard library only."""

from __future__ import annotations

from app.recipe import Stage


def views_kept(stage: Stage, varies: bool) -> int:
    """Says how many views a stage walks through, where some of the backbone is frozen.

    Args:
        stage: Its `views`, or what becomes of `auto`.
        varies: Whether there is another view of an image than the first.

    Returns:
        At most one an epoch; 0 is a new one each epoch, with nothing to keep.
    """
    if stage.views != "auto":
        return min(stage.views, stage.epochs)
    return 1 if not varies or stage.unfreeze == "head" else min(2, stage.epochs)
