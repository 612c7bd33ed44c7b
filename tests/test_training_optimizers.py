"""Optimizers against the formulas of their papers, computed here in float64."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest

from app.backbones.blocks import blocks
from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.recipe import Stage
from app.training.losses import Task, build_loss, build_metrics
from app.training.optimizers import build_optimizer, rate_factors

NAMES = ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "nadam", "lion"]
STEPS = 10
random = np.random.default_rng(0)
START = [random.normal(size=(3, 2)), random.normal(size=2)]
GRADIENTS = [[random.normal(size=w.shape) for w in START] for _ in range(STEPS)]


@dataclass
class ByHand:
    """One weight array that goes through the updates as their papers write them."""

    name: str
    weight: np.ndarray
    decay: float = 0.0
    first: np.ndarray | float = 0.0  # velocity, or first moment
    second: np.ndarray | float = 0.0
    product: float = 1.0
    count: int = 0

    def step(self, g: np.ndarray, rate: float, momentum: float) -> None:
        self.count += 1
        self.weight = self.weight - rate * self.decay * self.weight
        self.weight = self.weight - getattr(self, f"_{self.name}")(g, rate, momentum)

    def _sgd(self, g: np.ndarray, rate: float, _: float) -> np.ndarray:
        return rate * g

    def _momentum(self, g: np.ndarray, rate: float, momentum: float) -> np.ndarray:
        self.first = momentum * self.first + rate * g
        return self.first

    def _nesterov(self, g: np.ndarray, rate: float, momentum: float) -> np.ndarray:
        self.first = momentum * self.first + rate * g
        return momentum * self.first + rate * g

    def _rmsprop(self, g: np.ndarray, rate: float, _: float) -> np.ndarray:
        self.second = 0.9 * self.second + 0.1 * g**2
        return rate * g / np.sqrt(self.second + 1e-7)

    def _adam(self, g: np.ndarray, rate: float, beta: float) -> np.ndarray:
        """arXiv 1412.6980, in the order of its section 2."""
        self.first = beta * self.first + (1 - beta) * g
        self.second = 0.999 * self.second + 0.001 * g**2
        rate *= np.sqrt(1 - 0.999**self.count) / (1 - beta**self.count)
        return rate * self.first / (np.sqrt(self.second) + 1e-7)

    _adamw = _adam

    def _nadam(self, g: np.ndarray, rate: float, beta: float) -> np.ndarray:
        """Dozat 2016, with Keras's quicker course of the momentum."""
        now, after = (beta * (1 - 0.5 * 0.96**t) for t in (self.count, self.count + 1))
        self.product *= now
        self.first = beta * self.first + (1 - beta) * g
        self.second = 0.999 * self.second + 0.001 * g**2
        ahead = after * self.first / (1 - self.product * after)
        ahead = ahead + (1 - now) * g / (1 - self.product)
        return rate * ahead / (np.sqrt(self.second / (1 - 0.999**self.count)) + 1e-7)

    def _lion(self, g: np.ndarray, rate: float, beta: float) -> np.ndarray:
        """arXiv 2302.06675."""
        update = np.sign(beta * self.first + (1 - beta) * g)
        self.first = 0.99 * self.first + 0.01 * g
        return rate * update


def variables() -> list[keras.Variable]:
    layer = keras.layers.Dense(2, name="dense")
    layer.build((None, 3))
    for variable, value in zip(layer.variables, START, strict=True):
        variable.assign(value)
    return layer.variables


def apply(stage: Stage, factors: dict | None = None, steps: int = STEPS) -> list[np.ndarray]:
    """Applies `GRADIENTS` to a kernel and a bias that start from `START`."""
    weights = variables()
    optimizer = build_optimizer(stage, STEPS, factors)
    for gradients in GRADIENTS[:steps]:
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32") for g in gradients], weights)
    return [np.asarray(weight) for weight in weights]


def by_hand(
    name: str,
    rates: list[float],
    momenta: list[float],
    decay: float = 0.0,
    factors: tuple[float, float] = (1.0, 1.0),
    gradients: list[list[np.ndarray]] = GRADIENTS,
) -> list[np.ndarray]:
    kernel, bias = ByHand(name, START[0], decay), ByHand(name, START[1])
    for (g_kernel, g_bias), rate, momentum in zip(gradients, rates, momenta, strict=False):
        kernel.step(g_kernel, rate * factors[0], momentum)
        bias.step(g_bias, rate * factors[1], momentum)
    return [kernel.weight, bias.weight]


def assert_equal(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_an_optimizer_follows_its_formula_and_decays_kernels_alone(name: str) -> None:
    stage = Stage(optimizer=name, learning_rate=0.02, weight_decay=0.3)
    assert_equal(apply(stage), by_hand(name, [0.02] * STEPS, [0.9] * STEPS, decay=0.3))


def one_cycle() -> tuple[list[float], list[float]]:
    """Rates with a peak of 0.05 and momenta of ten batches, three of them rising."""
    turns = [(1 + np.cos(np.pi * n / 3)) / 2 for n in range(3)]
    falls = [(1 + np.cos(np.pi * n / 7)) / 2 for n in range(7)]
    rates = [0.05 - (0.05 - 0.002) * t for t in turns] + [5e-6 + (0.05 - 5e-6) * f for f in falls]
    return rates, [0.85 + 0.1 * t for t in turns] + [0.95 - 0.1 * f for f in falls]


@pytest.mark.parametrize("name", NAMES)
def test_one_cycle_turns_rate_and_momentum_of_every_optimizer(name: str) -> None:
    stage = Stage(epochs=1, optimizer=name, learning_rate=0.05, schedule="one_cycle")
    assert_equal(apply(stage), by_hand(name, *one_cycle()))


def test_momentum_is_as_large_as_it_is_set() -> None:
    for momentum in (0.5, 0.0):
        for name in ("momentum", "nesterov"):
            stage = Stage(optimizer=name, learning_rate=0.02, momentum=momentum)
            assert_equal(apply(stage), by_hand(name, [0.02] * STEPS, [momentum] * STEPS))


@pytest.mark.parametrize("name", ["momentum", "adamw", "lion"])
def test_each_variable_moves_and_decays_at_its_own_rate(name: str) -> None:
    stage = Stage(optimizer=name, learning_rate=0.02, weight_decay=0.3)
    found = apply(stage, {"dense/kernel": 0.25, "dense/bias": 0.5})
    wanted = by_hand(name, [0.02] * STEPS, [0.9] * STEPS, decay=0.3, factors=(0.25, 0.5))
    assert_equal(found, wanted)


def test_normalisation_does_not_decay() -> None:
    norm = keras.layers.BatchNormalization(name="bias_free_gamma")
    kernel = keras.layers.Dense(2, name="gamma_ray")  # the name of a layer does not count
    for layer in (norm, kernel):
        layer.build((None, 3))
    weights = norm.trainable_variables + kernel.trainable_variables
    for weight in weights:
        weight.assign(np.ones(weight.shape))
    optimizer = build_optimizer(Stage(optimizer="sgd", learning_rate=0.1, weight_decay=0.5), 1)
    optimizer.apply([keras.ops.zeros(weight.shape) for weight in weights], weights)
    after = {weight.name: float(np.asarray(weight).ravel()[0]) for weight in weights}
    assert after == {"gamma": 1, "beta": 1, "kernel": pytest.approx(0.95), "bias": 1}


def clipped_by_value(gradients: list[np.ndarray]) -> list[np.ndarray]:
    return [np.clip(g, -0.4, 0.4) for g in gradients]


def clipped_by_norm(gradients: list[np.ndarray]) -> list[np.ndarray]:
    return [g * min(1, 1.1 / np.linalg.norm(g)) for g in gradients]


def clipped_by_global_norm(gradients: list[np.ndarray]) -> list[np.ndarray]:
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    return [g * min(1, 2.5 / norm) for g in gradients]


@pytest.mark.parametrize(
    ("setting", "clip"),
    [
        ({"clip_value": 0.4}, clipped_by_value),
        ({"clip_norm": 1.1}, clipped_by_norm),
        ({"global_clip_norm": 2.5}, clipped_by_global_norm),
    ],
)
def test_gradients_are_clipped(setting: dict, clip: Callable) -> None:
    clipped = [clip(gradients) for gradients in GRADIENTS]
    # Some gradients are above the limit and some below it.
    changed = [not np.allclose(a[0], b[0]) for a, b in zip(clipped, GRADIENTS, strict=True)]
    assert any(changed)
    assert setting == {"clip_value": 0.4} or not all(changed)
    wanted = by_hand("momentum", [0.02] * STEPS, [0.9] * STEPS, gradients=clipped)
    assert_equal(apply(Stage(optimizer="momentum", learning_rate=0.02, **setting)), wanted)


@pytest.mark.parametrize("name", ["momentum", "adam", "nadam"])
def test_accumulated_gradients_are_averaged_for_one_update(name: str) -> None:
    """Rate and momentum go on with every batch; what is left after the last update is dropped."""
    stage = Stage(
        epochs=1, optimizer=name, learning_rate=0.05, schedule="one_cycle", accumulate_steps=3
    )
    means = [
        [np.mean([GRADIENTS[3 * n + i][part] for i in range(3)], axis=0) for part in range(2)]
        for n in range(3)
    ]
    rates, momenta = ([values[step] for step in (2, 5, 8)] for values in one_cycle())
    assert_equal(apply(stage), by_hand(name, rates, momenta, gradients=means))


def test_a_moving_average_is_kept_and_leaves_the_weights_alone() -> None:
    weights = variables()
    stage = Stage(optimizer="sgd", learning_rate=0.1, weight_average="ema", ema_momentum=0.7)
    optimizer = build_optimizer(stage, STEPS)
    course, average = START[0], None
    for gradients in GRADIENTS:
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32") for g in gradients], weights)
        course = course - 0.1 * gradients[0]
        average = course if average is None else 0.7 * average + 0.3 * course
    optimizer.finalize_variable_values(weights)
    kept = next(v for v in optimizer.variables if v.path.endswith("kernel_average"))
    np.testing.assert_allclose(np.asarray(kept), average, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(weights[0]), course, rtol=1e-5)


def classifier() -> tuple[keras.Model, dict[str, list[keras.Layer]]]:
    compact = find_backbone("compact")
    base, _ = build_backbone(compact, 32, "none")
    pixels = keras.Input((32, 32, 3))
    model = keras.Model(pixels, keras.layers.Dense(2, name="logits")(base(pixels)))
    return model, blocks(model, compact)


def test_rates_fall_from_the_head_down_by_a_factor_a_block() -> None:
    model, parts = classifier()
    factors = rate_factors(model, find_backbone("compact"), 0.5)
    assert set(factors) == {variable.path for variable in model.variables}
    assert factors["logits/kernel"] == factors["logits/bias"] == 1
    for depth, name in enumerate(reversed(list(parts)), 1):
        paths = {variable.path for layer in parts[name] for variable in layer.variables}
        assert {factors[path] for path in paths} <= {0.5**depth}
    assert min(factors.values()) == 0.5 ** len(parts)
    assert rate_factors(model, find_backbone("compact"), 1.0) == {}


def norms(gradients: list[np.ndarray]) -> list[float]:
    return [float(np.linalg.norm(g)) for g in gradients]


def test_norms_are_those_of_raw_gradients_and_latched_when_one_breaks() -> None:
    weights = variables()
    optimizer = build_optimizer(Stage(optimizer="sgd", clip_value=0.01), STEPS)
    tensors = [[g.astype("float32") for g in gradients] for gradients in GRADIENTS[:3]]
    optimizer.apply(tensors[0], weights)
    np.testing.assert_allclose(np.asarray(optimizer.gradient_norms), norms(GRADIENTS[0]), rtol=1e-5)
    assert not np.asarray(optimizer.first_bad).any()
    optimizer.apply([tensors[1][0], tensors[1][1] * np.nan], weights)
    optimizer.apply([tensors[2][0] * np.inf, tensors[2][1]], weights)
    np.testing.assert_allclose(np.asarray(optimizer.gradient_norms), norms(GRADIENTS[0]), rtol=1e-5)
    assert np.asarray(optimizer.first_bad).tolist() == [0, 1]
    optimizer.apply(tensors[2], weights)
    np.testing.assert_allclose(np.asarray(optimizer.gradient_norms), norms(GRADIENTS[2]), rtol=1e-5)
    assert np.asarray(optimizer.first_bad).tolist() == [0, 1]


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


TASK = Task((20, 20, 20), 60)


def compiled(stage: Stage, factor: float = 1.0) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(8, activation="relu", name="hidden"),
            keras.layers.Dense(3, dtype="float32", name="logits"),
        ]
    )
    optimizer = build_optimizer(stage, 6, {"hidden/kernel": factor, "hidden/bias": factor})
    model.compile(optimizer, build_loss(stage, TASK), metrics=build_metrics(TASK))
    return model


def fit(model: keras.Model, epochs: int, **options: float) -> dict[str, list[float]]:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(60, 5)).astype("float32")
    y = (x @ draw.normal(size=(5, 3))).argmax(1)
    return model.fit(x, y, 10, epochs, shuffle=False, verbose=0, **options).history


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_everything_at_once_learns_under_fit(precision: str) -> None:
    stage = Stage(
        epochs=12,
        optimizer="nadam",
        learning_rate=0.05,
        schedule="one_cycle",
        weight_decay=0.01,
        global_clip_norm=1.0,
        accumulate_steps=2,
        weight_average="ema",
    )
    with policy(precision):
        model = compiled(stage, 0.5)
        losses = fit(model, 12)["loss"]
    assert losses[-1] < 0.6 * losses[0]
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    assert np.asarray(optimizer.gradient_norms).min() > 0
    assert not np.asarray(optimizer.first_bad).any()


def test_norms_are_free_of_the_scale_of_the_loss() -> None:
    found = []
    for precision in ("float32", "mixed_float16"):
        with policy(precision):
            model = compiled(Stage(optimizer="sgd", learning_rate=0.01))
            fit(model, 1)
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        found.append(np.asarray(optimizer.gradient_norms))
    np.testing.assert_allclose(found[1], found[0], rtol=0.02)


def test_training_goes_on_from_stored_variables_bit_by_bit() -> None:
    """Nadam keeps most: beside its moments a product, which Keras forgets under loss scaling."""
    stage = Stage(epochs=4, optimizer="nadam", learning_rate=0.01, schedule="one_cycle")
    with policy("mixed_float16"):
        begun, resumed = compiled(stage, 0.5), compiled(stage, 0.5)
        fit(begun, 2)
        resumed.optimizer.build(resumed.trainable_variables)
        for new, old in zip(
            resumed.variables + resumed.optimizer.variables,
            begun.variables + begun.optimizer.variables,
            strict=True,
        ):
            assert (new.shape, new.dtype) == (old.shape, old.dtype)
            new.assign(old)
        for model in (begun, resumed):
            fit(model, 4, initial_epoch=2)
    for new, old in zip(resumed.weights, begun.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(new), np.asarray(old))


@pytest.mark.parametrize("name", NAMES)
def test_optimizers_are_keras_own_and_survive_being_stored(name: str) -> None:
    stage = Stage(epochs=2, optimizer=name, schedule="one_cycle", weight_decay=0.1)
    optimizer = build_optimizer(stage, 5, {"dense/kernel": 0.5})
    kind = {"momentum": "SGD", "nesterov": "SGD", "sgd": "SGD", "rmsprop": "RMSprop"}
    assert isinstance(optimizer, getattr(keras.optimizers, kind.get(name, _class_name(name))))
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(optimizer)))
    again = keras.saving.deserialize_keras_object(stored)
    assert again.get_config() == optimizer.get_config()
    weights, others = variables(), variables()
    for maker, of in ((optimizer, weights), (again, others)):
        maker.apply([g.astype("float32") for g in GRADIENTS[0]], of)
    np.testing.assert_array_equal(np.asarray(weights[0]), np.asarray(others[0]))


def _class_name(name: str) -> str:
    return {"adamw": "AdamW"}.get(name, name.capitalize())


SHARED = """
import contextlib, json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from app.errors import RecipeError
from app.recipe import Stage
from app.training.optimizers import build_optimizer
from tests.test_training_optimizers import compiled, fit

def train(scope, **settings):
    with scope:
        model = compiled(Stage(epochs=1, **settings), 0.5)
        before = model.get_weights()
        fit(model, 1)
    return model, before

def both():
    return contextlib.nullcontext(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope()

same = dict(optimizer="adam", schedule="one_cycle", weight_decay=0.1)
alone, shared = (train(scope, **same)[0] for scope in both())
pairs = zip(alone.get_weights(), shared.get_weights())
clipped, before = train(both()[1], optimizer="sgd", learning_rate=1.0, clip_value=1e-3)
moved = [np.abs(a - b).max() for a, b in zip(clipped.get_weights(), before)]
try:
    with both()[1]:
        build_optimizer(Stage(accumulate_steps=2), 5)
    message = ""
except RecipeError as error:
    message = str(error)
print(json.dumps({
    "apart": float(max(np.abs(a - b).max() for a, b in pairs)),
    "norms": float(np.abs(np.array(shared.optimizer.gradient_norms)).max()),
    "moved": float(max(moved)),
    "message": message,
}))
"""


def test_two_devices_update_as_one_does(python: Callable, tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text(SHARED)
    done = python("shared.py", str(Path(__file__).parent.parent))
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["apart"] < 1e-6
    assert found["norms"] == 0  # each device knows its own part only
    assert 0 < found["moved"] <= 6 * 1e-3 * 1.001  # six steps
    assert "accumulate_steps is 2, which Keras cannot do on 2 GPUs" in found["message"]
