"""A recipe diagnosed whole: what is said, and that nothing is changed by it."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.diagnosing import IMAGES, findings
from app.preparation import prepare
from app.prepared import Prepared
from app.recipe import Recipe, Stage, override
from app.training.diagnosis import Finding
from tests.small_nets import state

CHECKS = [
    "inputs of the backbone",
    "loss of the fresh head",
    "one batch learned by heart",
    "gradients against central differences",
    "labels drawn at random",
    *(
        f"{stage}: {what}"
        for stage in ("warm_up", "fine_tune")
        for what in (
            "gradient of the lowest block",
            "update of the kernels in a step",
            "dead units",
            "saturated activations",
        )
    ),
]


@pytest.fixture(scope="module")
def prepared(tiny: Recipe) -> Prepared:
    """Random weights whose BatchNorm trains, so that there is something to be learned."""
    changes = {"train_batch_norm": True, "warm_up.unfreeze": "all", "learning_rate": 1e-3}
    return prepare(override(tiny, changes))


@pytest.fixture(scope="module")
def diagnosed(prepared: Prepared) -> tuple[list[Finding], list[str], list[Any]]:
    """What was found, what was said, and what model and random states were before."""
    before = [state(prepared.model), random.getstate(), str(np.random.get_state())]
    log, said = logging.getLogger("graft"), _Log()
    level = log.level
    log.addHandler(said)
    log.setLevel(logging.INFO)
    found = list(findings(prepared))
    log.removeHandler(said)
    log.setLevel(level)
    return found, said.lines, before


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_every_check_is_made_in_the_order_of_the_data(diagnosed: Any) -> None:
    assert [finding.name for finding in diagnosed[0]] == CHECKS


def test_a_recipe_that_is_sound_passes(diagnosed: Any) -> None:
    assert [finding for finding in diagnosed[0] if not finding.passed] == []


def test_progress_is_said_check_by_check(diagnosed: Any) -> None:
    told = ("42 images", "fresh head", "by heart", "differences", "at random", "warm_up", "tune")
    assert len(diagnosed[1]) == len(told)
    assert all(word in line for word, line in zip(told, diagnosed[1], strict=True))


def test_model_and_random_states_stay_as_they_were(prepared: Prepared, diagnosed: Any) -> None:
    assert diagnosed[2] == [state(prepared.model), random.getstate(), str(np.random.get_state())]
    assert keras.config.floatx() == keras.config.dtype_policy().name == "float32"
    assert not prepared.model.compiled


class _Leaking(Prepared):
    """Takes the labels from the folders, whatever the index says."""

    def training(self, *_: int) -> tf.data.Dataset:
        names = [image.path.parent.name for image in self.index.images]
        true = tuple(
            replace(image, class_names=(name,))
            for image, name in zip(self.index.images, names, strict=True)
        )
        honest = Prepared(**{**vars(self), "index": replace(self.index, images=true)})
        return honest.training(0, 1)


def test_true_labels_that_get_through_the_pipeline_are_noticed(prepared: Prepared) -> None:
    from app.diagnosing import _check_random_labels, _plain
    from app.training.losses import build_loss, build_metrics

    loss = build_loss(_plain(prepared.recipe.stages["warm_up"]), prepared.task)
    leaking = _Leaking(**vars(prepared))
    assert not _check_random_labels(leaking, loss, build_metrics(prepared.task)[0]).passed


def test_many_labels_and_a_single_stage_whose_rate_is_to_be_found_are_understood(
    tiny: Recipe, tmp_path: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = {"2": "round;small", "10": "small", "fern leaf": ""}
    rows = [f"{path},{labels[path.parent.name]}" for path in sorted(photos.rglob("*.jpg"))]
    source = tmp_path / "labels.csv"
    source.write_text("path,labels\n" + "\n".join(rows))
    stage = Stage(learning_rate="auto", accumulate_steps=4)
    recipe = override(replace(tiny, stages={"only": stage}), {"source": str(source), "mixup": 0.2})
    with caplog.at_level("INFO", "graft"):
        found = {finding.name: finding for finding in findings(prepare(recipe))}
    assert list(found) == [*CHECKS[:5], *(f"only: {name[9:]}" for name in CHECKS[5:9])]
    assert "stages.only.learning_rate is auto: its updates are judged at 0.001" in caplog.text
    assert found["only: update of the kernels in a step"].number > 0
    assert found["loss of the fresh head"].said.startswith("0.693 if all classes")
    assert "chance is 0.500" in found["labels drawn at random"].said
    assert found["labels drawn at random"].passed


def test_images_are_few_and_of_all_classes(prepared: Prepared) -> None:
    from app.diagnosing import _chosen

    chosen = _chosen(prepared.index, seed=0)
    assert len(chosen) == len(set(chosen)) <= IMAGES
    assert {image.class_name for image in chosen[:3]} == set(prepared.index.class_names)
    assert {image.split for image in chosen} == {"train"}
