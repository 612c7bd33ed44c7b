"""How many views the epochs of a stage walk through."""

from __future__ import annotations

import pytest

from app.features.walking import views_kept
from app.recipe import Stage


@pytest.mark.parametrize(
    ("stage", "varies", "views"),
    [
        (Stage(), True, 1),
        (Stage(unfreeze="top:2"), True, 2),
        (Stage(unfreeze="top:2", epochs=1), True, 1),
        (Stage(unfreeze="top:2"), False, 1),
        (Stage(views=0), True, 0),
        (Stage(views=3), True, 3),
        (Stage(views=3, epochs=2), True, 2),
    ],
)
def test_a_stage_walks_through_one_view_an_epoch_at_most(
    stage: Stage, varies: bool, views: int
) -> None:
    assert views_kept(stage, varies) == views
