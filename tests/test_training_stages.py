"""Stages on a small model: what trains, what is kept, when it stops."""

from __future__ import annotations

import csv
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.errors import RunError
from app.models import build_model
from app.recipe import Head, Stage
from app.training.callbacks import History, KeepBest
from app.training.checkpoints import Checkpoints
from app.training.learner import Learner
from app.training.losses import Task
from app.training.stages import Trainer

COMPACT = find_backbone("compact")
STEPS = 3


def pictures(seed: int, count: int, class_count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Dark, grey and bright noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, class_count, count)
    noise = random.normal(0, 20, (count, 32, 32, 3))
    return (noise + 60 + 70 * labels[:, None, None, None]).clip(0, 255).astype("uint8"), labels


def batches(first: int, epochs: int, skipped: int, class_count: int = 3) -> tf.data.Dataset:
    data = tf.data.Dataset.from_tensor_slices(pictures(0, 24, class_count))
    return data.batch(8).repeat(epochs).skip(skipped)


def validation(class_count: int = 3) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(pictures(1, 16, class_count)).batch(8)


def trainer(folder: Path, class_count: int = 3, dropout: float = 0.1) -> Trainer:
    keras.utils.set_random_seed(3)
    base, _ = build_backbone(COMPACT, 32, "none")
    model = build_model(COMPACT, base, Head(dropout=dropout), class_count, seed=0)
    checkpoints = Checkpoints(folder)
    learner = Learner(
        model, lambda *asked: batches(*asked, class_count=class_count), validation(class_count)
    )
    return Trainer(
        model=model,
        backbone=COMPACT,
        task=Task((24 // class_count,) * class_count, 24),
        steps=STEPS,
        learner=lambda name, stage: nullcontext(learner),
        jit_compile=False,
        checkpoints=checkpoints,
        history=History(folder / "history.csv"),
        best=KeepBest(model),
    )


def weights(model: keras.Model) -> dict[str, bytes]:
    return {weight.path: np.asarray(weight).tobytes() for weight in model.weights}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_head_stage_leaves_every_weight_of_the_backbone_as_it_was(tmp_path: Path) -> None:
    each = trainer(tmp_path)
    before = weights(each.model)
    each.train({"warm_up": Stage(epochs=2, learning_rate=0.01)})
    moved = {path for path, value in weights(each.model).items() if value != before[path]}
    assert {path.rsplit("/", 1)[0] for path in moved} == {"logits"}


def test_a_second_stage_trains_what_it_unfreezes_with_a_new_optimizer(tmp_path: Path) -> None:
    each = trainer(tmp_path)
    warm_up = {"warm_up": Stage(epochs=1)}
    each.train(warm_up)
    first, before = each.model.optimizer, weights(each.model)
    each.train(
        warm_up | {"fine_tune": Stage(epochs=2, learning_rate=3e-4, unfreeze="stage4_block2")}
    )
    assert each.model.optimizer is not first
    moved = {path for path, value in weights(each.model).items() if value != before[path]}
    assert any("stage4_block2_1_conv" in path for path in moved)
    assert not any("stage4_block1" in path or "_bn" in path for path in moved)


def test_the_history_has_a_row_for_each_epoch_of_each_stage(tmp_path: Path) -> None:
    each = trainer(tmp_path)
    cosine = Stage(epochs=1, learning_rate=0.25, schedule="cosine", unfreeze="top:2")
    each.train({"warm_up": Stage(epochs=2, learning_rate=0.5), "fine_tune": cosine})
    found = rows(tmp_path)
    assert [(r["stage"], r["epoch"]) for r in found] == [
        ("warm_up", "1"),
        ("warm_up", "2"),
        ("fine_tune", "1"),
    ]
    assert [float(r["learning_rate"]) for r in found] == pytest.approx([0.5, 0.5, 0.0], abs=1e-6)
    numbers = ("seconds", "loss", "accuracy", "validation_loss", "validation_accuracy")
    assert all(np.isfinite(float(row[name])) for row in found for name in numbers)


def test_a_stage_ends_with_the_weights_of_its_best_epoch(tmp_path: Path) -> None:
    each = trainer(tmp_path)
    # At this rate the loss jumps about, so the last epoch is hardly ever the best.
    each.train({"warm_up": Stage(epochs=4, learning_rate=0.3, patience=6)})
    losses = [float(row["validation_loss"]) for row in rows(tmp_path)]
    assert losses.index(min(losses)) + 1 == each.best.best_epoch < 4
    assert each.model.evaluate(validation(), verbose=0)[2] == pytest.approx(min(losses), rel=1e-4)


def test_a_stage_that_keeps_its_last_weights_leaves_those(tmp_path: Path) -> None:
    """At this rate the loss rises again, so that the best weights would be others."""
    each = trainer(tmp_path)
    stage = Stage(epochs=4, learning_rate=0.3, patience=6, keep="last")
    each.train({"warm_up": stage})
    losses = [float(row["validation_loss"]) for row in rows(tmp_path)]
    assert losses.index(min(losses)) + 1 < 4 == each.best.best_epoch
    assert each.model.evaluate(validation(), verbose=0)[2] == pytest.approx(losses[-1], rel=1e-4)


def test_a_stage_that_brings_nothing_leaves_the_weights_of_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    each = trainer(tmp_path)
    warm_up = {"warm_up": Stage(epochs=3, learning_rate=0.01)}
    each.train(warm_up)
    before = weights(each.model)
    ruinous = Stage(epochs=1, learning_rate=5.0, optimizer="sgd", unfreeze="top:2")
    with caplog.at_level("INFO", "graft"):
        each.train(warm_up | {"fine_tune": ruinous})
    assert weights(each.model) == before
    assert "the weights of stage warm_up are kept" in caplog.text


def test_a_stage_stops_when_its_patience_is_over(tmp_path: Path) -> None:
    each = trainer(tmp_path)
    still = Stage(epochs=9, learning_rate=0.0, patience=2)
    each.train({"warm_up": still})
    # With nothing learned the first epoch is the best, and two more are waited for.
    assert len(rows(tmp_path)) == 3


def test_a_loss_that_is_no_number_names_the_stage_and_the_setting(tmp_path: Path) -> None:
    each = trainer(tmp_path)
    mad = Stage(epochs=3, learning_rate=1000.0, optimizer="sgd", unfreeze="all")
    each.model.get_layer("logits").kernel.assign(np.full((1840, 3), np.nan))
    with pytest.raises(RunError, match=r"stage boom .* no number.*Lower stages.boom.learning_rate"):
        each.train({"boom": mad})
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_two_classes_learn_with_one_sigmoid(tmp_path: Path) -> None:
    each = trainer(tmp_path, class_count=2)
    assert each.model.output.shape == (None, 1)
    each.train({"warm_up": Stage(epochs=8, learning_rate=0.01)})
    best = max(float(row["validation_accuracy"]) for row in rows(tmp_path))
    assert best >= 0.9


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        each = trainer(tmp_path / name)
        each.train({"all": Stage(epochs=2, unfreeze="all", train_batch_norm=True)})
        results.append(list(weights(each.model).values()))
    assert results[0] == results[1]


def test_stages_are_compared_without_their_label_smoothing(tmp_path: Path) -> None:
    each = trainer(tmp_path)
    smooth = Stage(epochs=4, learning_rate=0.01, unfreeze="top:3", label_smoothing=0.5)
    each.train({"plain": Stage(epochs=4, learning_rate=0.01), "smooth": smooth})
    pixels, labels = pictures(1, 16)
    logits = np.asarray(each.model(pixels)).astype("float64")
    logarithms = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = -logarithms[np.arange(16), labels].mean()
    assert each.best.best_loss == pytest.approx(wanted, rel=1e-4)
    assert min(float(row["validation_loss"]) for row in rows(tmp_path)) == pytest.approx(
        wanted, rel=1e-4
    )
    # Half of each label smoothed away, no loss on these classes could be lower than this.
    floor = -(2 / 3 * np.log(2 / 3) + 2 / 6 * np.log(1 / 6))
    smoothed = [float(row["loss"]) for row in rows(tmp_path) if row["stage"] == "smooth"]
    assert min(smoothed) > floor > each.best.best_loss


class Killed(keras.callbacks.Callback):
    """Breaks off in the middle of a step, as `kill` would."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._left = step

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt


def staged(**settings: object) -> dict[str, Stage]:
    common = {"learning_rate": 0.02, **settings}
    return {
        "warm_up": Stage(epochs=3, **common),
        "fine_tune": Stage(epochs=3, unfreeze="top:2", train_batch_norm=True, **common),
    }


EMA = {"weight_average": "ema", "ema_momentum": 0.7, "schedule": "plateau", "plateau_patience": 1}
SWA = {"weight_average": "swa", "swa_start": "40%", "schedule": "one_cycle", "layer_decay": 0.5}
COURSES: dict[str, dict[str, object]] = {
    "adam": {},
    "warm_up": {"schedule": "plateau", "warmup_epochs": 0.7, "optimizer": "nesterov"},
    "clipping": {"global_clip_norm": 0.5, "schedule": "cosine", "optimizer": "lion"},
    "accumulating": {"accumulate_steps": 2, "optimizer": "adamw", "weight_decay": 0.1},
    "stopping": {"patience": 1, "learning_rate": 0.0},
    "auto": {"learning_rate": "auto"},
}


@pytest.mark.parametrize(
    ("course", "every"),
    [
        pytest.param(EMA, 2, id="ema-2"),
        pytest.param(SWA, None, id="swa"),
        *(
            pytest.param(course, every, id=f"{name}-{every}", marks=pytest.mark.slow)
            for name, course in {"ema": EMA, "swa": SWA, **COURSES}.items()
            for every in (None, 1, 2)
        ),
    ],
)
def test_training_that_was_broken_off_goes_on_to_the_same_bits(
    tmp_path: Path, course: dict[str, object], every: int | None
) -> None:
    stages = staged(**course)
    whole = trainer(tmp_path, dropout=0.5)
    (tmp_path / "parts").mkdir()
    whole.train(stages)
    wanted, history = weights(whole.model), [row | {"seconds": 0} for row in whole.history.rows]
    broken_off = 0
    for step in (4, 8, 5, 99):
        part = trainer(tmp_path / "parts", dropout=0.5)
        part = replace(part, checkpoint_steps=every, watching=lambda _: [Killed(step)])  # noqa: B023  # used at once
        try:
            part.train(stages)
            break
        except KeyboardInterrupt:
            broken_off += 1
    assert broken_off >= 2
    assert weights(part.model) == wanted
    assert [row | {"seconds": 0} for row in part.history.rows] == history


def test_averaged_weights_are_what_is_measured_kept_and_left(tmp_path: Path) -> None:
    each = trainer(tmp_path)
    stage = Stage(epochs=3, learning_rate=0.05, weight_average="swa", swa_start=2.0)
    each.train({"warm_up": stage})
    losses = [float(row["validation_loss"]) for row in rows(tmp_path)]
    logits = np.concatenate([each.model(pixels) for pixels, _ in validation()]).astype("float64")
    labels = pictures(1, 16)[1]
    logarithms = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert min(losses) == pytest.approx(-logarithms[np.arange(16), labels].mean(), rel=1e-4)


def test_a_stage_finds_its_own_learning_rate_and_says_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    each = trainer(tmp_path)
    with caplog.at_level("INFO", "graft"):
        each.train({"warm_up": Stage(epochs=1, learning_rate="auto")})
    found = float(rows(tmp_path)[0]["learning_rate"])
    assert 1e-5 < found < 1
    assert f"stage warm_up: learning rate {found:.3g}, found by a range test" in caplog.text
