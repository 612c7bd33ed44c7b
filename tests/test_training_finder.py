"""The range test: what it measures, what it suggests, and that it leaves nothing behind."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

from app.backbones.table import find_backbone
from app.errors import RunError
from app.recipe import Stage
from app.training.finder import RATES, Found, find_rate, find_stage_rate, smooth, suggest
from app.training.finder_plot import plot
from app.training.losses import Task

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
COUNT, WIDTH = 80, 6


def points() -> tuple[np.ndarray, np.ndarray]:
    """Three clouds."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, COUNT)
    return (draw.normal(0, 1, (COUNT, WIDTH)) + np.eye(WIDTH)[labels]).astype("float32"), labels


def batches(size: int = 8) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(points()).batch(size)


def model(dropout: float = 0.0, normalised: bool = False) -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((WIDTH,))
    features: Any = inputs
    if normalised:
        features = keras.layers.BatchNormalization()(keras.layers.Dense(16)(features))
    outputs = keras.layers.Dense(3)(keras.layers.Dropout(dropout)(features))
    # As in a classifier, what drops lies one model deeper.
    deeper = keras.Model(inputs, outputs, name="backbone")
    outside = keras.Input((WIDTH,))
    return keras.Model(outside, deeper(outside))


def adam() -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(1e-7)


def cross_entropy(of: keras.Model, pixels: np.ndarray, labels: np.ndarray) -> float:
    logits = np.asarray(of(pixels)).astype("float64")
    return float((np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]).mean())


def state(of: keras.Model) -> dict[str, bytes]:
    variables = [*of.variables, *of.optimizer.variables, *of.metrics_variables]
    return {f"{number} {v.path}": np.array(v).tobytes() for number, v in enumerate(variables)}


def test_weights_statistics_draws_and_optimizer_are_put_back_bit_by_bit() -> None:
    tested = model(dropout=0.5, normalised=True)
    tested.compile(keras.optimizers.Adam(0.01), LOSS, metrics=["accuracy"])
    tested.fit(batches(), shuffle=False, verbose=0)
    before, optimizer = state(tested), tested.optimizer
    assert any("seed_generator_state" in name for name in before)
    assert any("moving_variance" in name for name in before)
    find_rate(tested, adam(), LOSS, batches())
    assert state(tested) == before
    assert tested.optimizer is optimizer


def test_training_afterwards_is_as_if_there_had_been_no_test() -> None:
    ends = []
    for looks in (False, True):
        tested = model(dropout=0.5, normalised=True)
        tested.compile(keras.optimizers.Adam(0.01), LOSS)
        if looks:
            find_rate(tested, adam(), LOSS, batches())
        tested.fit(batches(), epochs=2, shuffle=False, verbose=0)
        ends.append(state(tested).values())
    assert [*ends[0]] == [*ends[1]]


def test_global_random_numbers_go_on_as_if_there_had_been_no_test() -> None:
    def draws() -> list[float]:
        return [
            random.random(),
            np.random.random(),
            float(keras.random.uniform(())),
            float(tf.random.uniform(())),
        ]

    tested, seen = model(dropout=0.5), []
    for looks in (False, True):
        keras.utils.set_random_seed(7)
        if looks:
            find_rate(tested, adam(), LOSS, batches())
        seen.append(draws())
    assert seen[0] == seen[1]


def test_the_rate_rises_by_the_same_factor_from_1e_7_to_10() -> None:
    np.testing.assert_allclose(RATES, [1e-7 * 10 ** (8 * step / 99) for step in range(100)])


def test_at_first_the_losses_are_those_of_the_untouched_model() -> None:
    tested, (pixels, labels) = model(), points()
    found = find_rate(tested, adam(), LOSS, batches())
    wanted = [
        cross_entropy(tested, pixels[first : first + 8], labels[first : first + 8])
        for first in range(0, COUNT, 8)
    ]
    np.testing.assert_allclose(found.losses[:10], wanted, rtol=1e-4)
    np.testing.assert_allclose(found.smoothed[0], np.mean(wanted), rtol=1e-4)


def test_batches_come_again_with_the_same_draws_of_dropout() -> None:
    found = find_rate(model(dropout=0.5), adam(), LOSS, batches())
    np.testing.assert_allclose(found.losses[10:20], found.losses[:10], rtol=1e-3)
    assert np.std(found.losses[:10]) > 0.05


def test_few_batches_are_gone_through_more_often() -> None:
    found = find_rate(model(), adam(), LOSS, batches(40))
    np.testing.assert_allclose(found.losses[2:4], found.losses[:2], rtol=1e-4)
    assert len(found.losses) > 50


def test_accumulated_gradients_make_one_step_of_several_batches() -> None:
    tested, (pixels, labels) = model(), points()
    optimizer = keras.optimizers.Adam(1e-7, gradient_accumulation_steps=2)
    found = find_rate(tested, optimizer, LOSS, batches(4))
    wanted = [cross_entropy(tested, pixels[n : n + 8], labels[n : n + 8]) for n in (0, 8, 16)]
    np.testing.assert_allclose(found.losses[:3], wanted, rtol=1e-4)
    assert int(optimizer.iterations) == len(found.losses)


def test_the_test_ends_when_the_loss_diverges() -> None:
    squared = keras.losses.MeanSquaredError()
    data = tf.data.Dataset.from_tensor_slices((points()[0], points()[0][:, :3])).batch(8)
    found = find_rate(model(), keras.optimizers.SGD(1e-7), squared, data)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 100
    lowest = min(np.mean(found.losses[end - 10 : end]) for end in range(10, len(found.losses)))
    assert np.mean(found.losses[-10:]) > 4 * lowest
    assert np.isfinite(found.losses).all()


def test_mixed_precision_scales_the_loss_and_finds_about_the_same_rate() -> None:
    wanted = find_rate(model(), adam(), LOSS, batches()).suggestion
    keras.config.set_dtype_policy("mixed_float16")
    try:
        found = find_rate(model(), adam(), LOSS, batches()).suggestion
    finally:
        keras.config.set_dtype_policy("float32")
    assert wanted / 3 < found < wanted * 3


def test_a_stage_is_tested_with_its_optimizer_whatever_its_schedule() -> None:
    tested, task = model(), Task((27, 27, 26), COUNT)
    stage = Stage(optimizer="momentum", momentum=0.5, learning_rate="auto")
    scheduled = replace(
        stage, schedule="one_cycle", warmup_epochs=2.0, weight_average="ema", learning_rate=3.0
    )
    backbone = find_backbone("compact")
    found = find_stage_rate(tested, backbone, stage, task, batches())
    assert find_stage_rate(tested, backbone, scheduled, task, batches()) == found
    momentum = keras.optimizers.SGD(1e-7, momentum=0.5)
    np.testing.assert_allclose(
        found.losses[:60], find_rate(tested, momentum, LOSS, batches()).losses[:60], rtol=1e-4
    )


def test_a_loss_that_nothing_lowers_is_said_to_be_so() -> None:
    tested = model()
    before = [np.array(variable).tobytes() for variable in tested.variables]

    def deaf(_: Any, logits: Any) -> Any:
        return 2.0 + 0.0 * keras.ops.sum(logits, axis=-1)

    with pytest.raises(RunError, match=r"no learning rate from 1e-07 to 10 .* begins at 2 and .*"):
        find_rate(tested, adam(), deaf, batches())
    assert [np.array(variable).tobytes() for variable in tested.variables] == before


def test_a_loss_that_is_no_number_is_said_to_be_so_and_weights_are_put_back() -> None:
    tested = model()
    before = [np.array(variable).tobytes() for variable in tested.variables]

    def broken(_: Any, logits: Any) -> Any:
        return keras.ops.sum(logits, axis=-1) * np.nan

    with pytest.raises(RunError, match="no number at a learning rate of 1e-07 already"):
        find_rate(tested, adam(), broken, batches())
    assert [np.array(variable).tobytes() for variable in tested.variables] == before


def test_smoothing_takes_out_how_hard_each_batch_is() -> None:
    hard = np.random.default_rng(3).uniform(1, 2, 10)
    np.testing.assert_allclose(smooth([*hard, *hard, *hard, *hard[:4]]), hard.mean())


def test_smoothing_is_the_mean_of_ten_steps_around_each() -> None:
    losses = np.random.default_rng(4).uniform(1, 2, 37)
    smoothed = smooth(losses)
    means = [losses[first : first + 10].mean() for first in range(28)]
    np.testing.assert_allclose(smoothed[5:33], means)
    # At the end six steps are left, each compared with the first loss of its batch.
    rest = np.arange(31, 37)
    wanted = losses[:10].mean() + np.mean(losses[rest] - losses[rest % 10])
    np.testing.assert_allclose(smoothed[36], wanted)


def curve(centre: float, rises_from: float) -> np.ndarray:
    """A loss that falls from 2 to 1 around one rate and rises without end from another."""
    steps = np.log(RATES)
    fall = 2 - 1 / (1 + np.exp(-2 * (steps - np.log(centre))))
    return fall + np.maximum(steps - np.log(rises_from), 0) ** 2


def test_the_rate_of_the_steepest_fall_is_suggested_to_two_digits() -> None:
    for centre in (2e-5, 3e-3, 0.2):
        found = suggest(RATES, curve(centre, centre * 30))
        assert centre / 1.3 < found < centre * 1.3
        assert found == float(f"{found:.1e}")


def test_a_steeper_fall_after_the_lowest_loss_is_not_suggested() -> None:
    smoothed = curve(1e-3, 0.05)
    smoothed[-5:] = np.linspace(smoothed[-6], 3, 5)
    assert 1e-3 / 1.3 < suggest(RATES, smoothed) < 1e-3 * 1.3


def test_a_rising_loss_suggests_nothing() -> None:
    with pytest.raises(RunError, match="no learning rate"):
        suggest(RATES, np.linspace(1, 2, 100))


def digits(units: tuple[int, ...]) -> tuple[keras.Model, tf.data.Dataset]:
    keras.utils.set_random_seed(2)
    pixels, labels = load_digits(return_X_y=True)
    inputs = features = keras.Input((64,))
    for width in units:
        features = keras.layers.Dense(width, "relu")(features)
    data = tf.data.Dataset.from_tensor_slices(((pixels / 16).astype("float32")[:640], labels[:640]))
    return keras.Model(inputs, keras.layers.Dense(10)(features)), data.batch(32)


@pytest.mark.parametrize(
    ("units", "optimizer"),
    [
        ((48, 48), keras.optimizers.Adam),
        ((), lambda rate: keras.optimizers.SGD(rate, momentum=0.9)),
    ],
    ids=["hidden layers with adam", "one layer with momentum"],
)
def test_the_suggested_rate_learns_more_than_30_times_less_or_more(
    units: tuple[int, ...], optimizer: Callable[[float], keras.optimizers.Optimizer]
) -> None:
    tested, data = digits(units)
    start = tested.get_weights()

    def loss_in_fourth_epoch(rate: float) -> float:
        tested.set_weights(start)
        tested.compile(optimizer(rate), LOSS)
        fitted = tested.fit(data, epochs=4, shuffle=False, verbose=0)
        return float(fitted.history["loss"][-1])

    found = find_rate(tested, optimizer(1e-7), LOSS, data).suggestion
    reached = loss_in_fourth_epoch(found)
    assert reached < 0.5 * loss_in_fourth_epoch(found / 30)
    assert reached < 0.5 * loss_in_fourth_epoch(found * 30)


SEEN = Found(
    rates=tuple(RATES.tolist()),
    losses=tuple((curve(1e-3, 0.1) + np.resize([0.1, -0.1], 100)).tolist()),
    smoothed=tuple(curve(1e-3, 0.1).tolist()),
    suggestion=1e-3,
)


def columns_of(path: Path, colour: tuple[int, int, int]) -> np.ndarray:
    """Lists the columns of the pixels that are about of a colour."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return np.nonzero(np.abs(pixels - colour).sum(axis=-1) < 30)[1]


def test_the_picture_marks_the_suggestion_where_it_lies(tmp_path: Path) -> None:
    vermilion, where = (213, 94, 0), []
    for rate in (1e-4, 1e-3, 1e-2):
        path = tmp_path / f"{rate}.png"
        plot(replace(SEEN, suggestion=rate), path, "flowers, fine_tune")
        with Image.open(path) as picture:
            assert picture.size == (1200, 750)
        assert len(columns_of(path, (0, 114, 178))) > 1000
        # The line is the highest thing of that colour.
        where.append(np.bincount(columns_of(path, vermilion), minlength=1200).argmax())
    assert where[1] - where[0] == pytest.approx(where[2] - where[1], abs=2)
    assert where[1] - where[0] > 50


def test_drawing_leaves_pyplot_alone(tmp_path: Path) -> None:
    loaded = "matplotlib.pyplot" in sys.modules
    plot(SEEN, tmp_path / "x.png", "x")
    assert ("matplotlib.pyplot" in sys.modules) is loaded
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


ON_TWO_DEVICES = """
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from app.training.devices import strategy_over
from app.training.finder import find_rate
from tests.test_training_finder import LOSS, adam, batches, model

with strategy_over(["CPU:0", "CPU:1"]):
    tested = model(dropout=0.5, normalised=True)
    before = [variable.numpy().tobytes() for variable in tested.variables]
    print(find_rate(tested, adam(), LOSS, batches()).suggestion)
    assert [variable.numpy().tobytes() for variable in tested.variables] == before
"""


@pytest.mark.slow
def test_two_devices_find_the_rate_that_one_finds(
    python: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    done = python("-c", ON_TWO_DEVICES)
    assert done.returncode == 0, done.stderr[-2000:]
    alone = find_rate(model(dropout=0.5, normalised=True), adam(), LOSS, batches()).suggestion
    assert alone / 2 < float(done.stdout.split()[-1]) < alone * 2
