"""Stages above the frozen boundary end where those on images do, and say what they do."""

from __future__ import annotations

import csv
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app import Augmentation, Head, Recipe, Stage, run
from app.errors import CacheError
from app.features import cache
from app.features.cutting import cut
from app.preparation import prepare
from app.recipe import override
from app.run_directory import Run


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def staged(tiny: Recipe) -> Recipe:
    """The head, the top blocks with BatchNorm and several tensors, and everything.

    Not with Adam, which turns the least difference of a gradient near 0 into a whole step.
    """
    stages = {
        "head": Stage(epochs=3, optimizer="sgd"),
        "top": Stage(epochs=3, optimizer="sgd", unfreeze="top:4", train_batch_norm=True),
        "all": Stage(epochs=1, optimizer="sgd", unfreeze="all"),
    }
    return replace(tiny, stages=stages, head=Head(units=(8,), dropout=0.2))


def history(of: Run) -> list[dict[str, str]]:
    with (of.directory / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(of: Run, name: str) -> list[float]:
    return [float(row[name]) for row in history(of)]


def test_a_cached_run_and_an_uncached_one_give_the_same_metrics(
    staged: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Within the noise of float16: losses agree to 1e-3 at first, and to 1 % after six epochs."""
    caplog.set_level(logging.INFO, "graft")
    cached = run(staged, tmp_path / "cached")
    assert "stage head: what its frozen blocks make of 42 images" in caplog.text
    assert "stage top: what its frozen blocks make of 42 images, in 2 views" in caplog.text
    assert "stage all: what its" not in caplog.text
    plain = run(replace(staged, cache=False), tmp_path / "plain")
    for name in ("loss", "validation_loss"):
        one, other = column(cached, name)[:6], column(plain, name)[:6]
        np.testing.assert_allclose(one, other, rtol=1e-2)
        np.testing.assert_allclose(one[0], other[0], rtol=1e-3)
    assert column(cached, "learning_rate") == column(plain, "learning_rate")
    for split in ("validation", "test"):
        one, other = cached.metrics[split], plain.metrics[split]
        assert one["accuracy"]["value"] == other["accuracy"]["value"]


def test_views_are_few_where_blocks_are_frozen_and_new_each_epoch_elsewhere(
    staged: Recipe,
) -> None:
    prepared = prepare(staged)
    from app.models import unfreeze

    views = {}
    for name, stage in staged.stages.items():
        unfreeze(prepared.model, prepared.backbone, stage.unfreeze, stage.train_batch_norm)
        boundary = prepared._boundary(cut(prepared.model))
        views[name] = boundary.views(stage)
    assert views == {"head": 1, "top": 2, "all": 0}
    assert boundary.views(Stage(epochs=3, views=5)) == 3
    assert boundary.views(Stage(epochs=9, views=5)) == 5


def test_mixed_images_are_read_each_epoch(
    tiny: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graft")
    mixed = replace(tiny, augmentation=Augmentation("light", mixup=0.2))
    run(override(mixed, {"epochs": 1}), tmp_path / "run")
    assert "what its frozen blocks make" not in caplog.text


def test_without_room_a_stage_learns_from_images_and_says_so(
    tiny: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_CACHE_LIMIT", "1kB")
    finished = run(override(tiny, {"epochs": 1}), tmp_path / "run")
    assert "stage warm_up learns from images: no room to keep" in caplog.text
    assert finished.is_finished


def test_features_beyond_float16_are_not_kept(
    tiny: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_LARGEST", 1e-3)
    finished = run(override(tiny, {"epochs": 1}), tmp_path / "run")
    assert "stage warm_up learns from images, since its cache failed: features reach" in caplog.text
    assert finished.is_finished


def test_a_second_run_finds_the_features_of_the_first(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = replace(tiny, stages={"head": Stage(epochs=2)})
    # The weights of this network follow from the seed, so both runs have the same.
    run(head, tmp_path / "one")

    def fail(*_: object) -> None:
        raise AssertionError("features were computed again")

    monkeypatch.setattr("app.features.filling.kept_forward_of", fail)
    run(override(head, {"learning_rate": 1e-2, "dropout": 0.4}), tmp_path / "two")


def test_a_full_disk_costs_the_cache_and_not_the_run(
    tiny: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise CacheError("no space left on device")

    monkeypatch.setattr(cache, "write_part", full)
    assert run(override(tiny, {"epochs": 1}), tmp_path / "run").is_finished
    assert "since its cache failed: no space left on device" in caplog.text
