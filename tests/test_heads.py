"""The head's layers, what they start from, and what they cost."""

from __future__ import annotations

import logging
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from app.heads import build_head, hidden_widths, prior_bias
from app.recipe import Head


def build(
    head: Head,
    feature_count: int = 6,
    class_count: int = 3,
    many_labels: bool = False,
    bias: list[float] | None = None,
) -> keras.Model:
    """A head on features that are fed to it."""
    keras.utils.set_random_seed(0)
    features = keras.Input([feature_count])
    return keras.Model(features, build_head(features, head, class_count, many_labels, bias))


def kernel(model: keras.Model, name: str) -> NDArray[np.float64]:
    return np.asarray(model.get_layer(name).kernel, np.float64)


def made_by(tensor: keras.KerasTensor) -> keras.Layer:
    return tensor._keras_history.operation


def features_of(count: int = 12, width: int = 6) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(count, width)).astype("float32")


def fit(model: keras.Model) -> None:
    """Twelve steps; the classes are as their features say, and of different sizes."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1.0), loss)
    labels = np.digitize(features_of()[:, 0], [0, 1])
    model.fit(features_of(), labels, batch_size=12, epochs=12, verbose=0)


@pytest.mark.parametrize(
    ("features", "classes", "funnel"), [(1280, 5, 1), (1280, 5, 3), (736, 10, 2), (64, 2, 10)]
)
def test_a_funnel_narrows_by_the_same_factor_from_features_to_classes(
    features: int, classes: int, funnel: int
) -> None:
    wanted = [
        round(features * (classes / features) ** (i / (funnel + 1))) for i in range(1, funnel + 1)
    ]
    assert hidden_widths(Head(funnel=funnel), features, classes) == tuple(wanted)
    model = build(Head(funnel=funnel), features, classes)
    widths = [model.get_layer(f"hidden_{i}").units for i in range(1, funnel + 1)]
    assert widths == wanted
    whole = np.array([features, *wanted, classes])
    assert (np.diff(whole) <= 0).all()


def test_a_funnel_is_never_narrower_than_the_classes() -> None:
    assert hidden_widths(Head(funnel=3), 4, 10) == (10, 10, 10)


def test_units_are_the_widths_as_they_are_given() -> None:
    assert hidden_widths(Head(units=(7, 300)), 4, 10) == (7, 300)
    assert hidden_widths(Head(), 4, 10) == ()


def test_a_residual_layer_adds_its_input_projected_where_widths_differ() -> None:
    model = build(Head(units=(6, 4), residual=True, activation="tanh", dropout=0.5))
    random = np.random.default_rng(2)
    for weight in model.weights:  # biases too
        if "seed" not in weight.path:
            weight.assign(random.normal(size=weight.shape))

    def dense(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values @ kernel(model, name) + np.asarray(model.get_layer(name).bias, np.float64)

    values = features_of().astype(np.float64)
    values = np.tanh(dense("hidden_1", values)) + values
    values = np.tanh(dense("hidden_2", values)) + values @ kernel(model, "hidden_2_projection")
    found = np.asarray(model(features_of()))
    np.testing.assert_allclose(found, dense("logits", values), rtol=1e-4, atol=1e-5)
    assert not model.get_layer("hidden_2_projection").use_bias
    assert "hidden_1_projection" not in [layer.name for layer in model.layers]


def test_the_input_of_every_dense_layer_is_dropped_and_that_of_an_identity_is_not() -> None:
    model = build(Head(units=(6, 4), residual=True, dropout=0.4))
    for name in ("hidden_1", "hidden_2", "hidden_2_projection", "logits"):
        assert isinstance(made_by(model.get_layer(name).input), keras.layers.Dropout), name
    shortcut = model.get_layer("hidden_1_sum").input[1]
    assert made_by(shortcut) is model.layers[0]
    rates = [each.rate for each in model.layers if isinstance(each, keras.layers.Dropout)]
    assert rates == [0.4] * 3


FAN_IN, FAN_OUT = 300, 200
VARIANCES = {
    "glorot_uniform": 2 / (FAN_IN + FAN_OUT),
    "glorot_normal": 2 / (FAN_IN + FAN_OUT),
    "he_uniform": 2 / FAN_IN,
    "he_normal": 2 / FAN_IN,
    "lecun_uniform": 1 / FAN_IN,
    "lecun_normal": 1 / FAN_IN,
    "random_normal": 0.05**2,
    "random_uniform": 0.1**2 / 12,
    "zeros": 0.0,
}


@pytest.mark.parametrize("name", VARIANCES)
def test_kernels_start_with_the_variance_of_their_initializer(name: str) -> None:
    model = build(Head(units=(FAN_OUT,), initializer=name), FAN_IN)
    values = kernel(model, "hidden_1")
    assert values.shape == (FAN_IN, FAN_OUT)
    # The variance of 60,000 numbers is known to 0.6 % (one standard error).
    assert values.var() == pytest.approx(VARIANCES[name], rel=0.03)
    assert abs(values.mean()) <= 0.02 * np.sqrt(VARIANCES[name])
    if "uniform" in name:
        assert np.abs(values).max() == pytest.approx(np.sqrt(3 * VARIANCES[name]), rel=1e-3)
    assert not np.asarray(model.get_layer("hidden_1").bias).any()


@pytest.mark.parametrize("units", [4, 9])
def test_an_orthogonal_kernel_is_orthogonal(units: int) -> None:
    values = kernel(build(Head(units=(units,), initializer="orthogonal")), "hidden_1")
    product = values.T @ values if units < 6 else values @ values.T
    np.testing.assert_allclose(product, np.eye(min(units, 6)), atol=1e-6)


@pytest.mark.parametrize("name", sorted({*VARIANCES, "orthogonal"} - {"zeros"}))
def test_layers_of_the_same_shape_start_from_different_numbers(name: str) -> None:
    model = build(Head(units=(6, 6), residual=True, initializer=name))
    first, second = kernel(model, "hidden_1"), kernel(model, "hidden_2")
    assert not np.isclose(first, second).any()
    again = build(Head(units=(6, 6), residual=True, initializer=name))
    assert np.array_equal(first, kernel(again, "hidden_1"))


@pytest.mark.parametrize(("name", "alike"), [("zeros", True), ("glorot_uniform", False)])
def test_zeros_leave_the_units_of_a_hidden_layer_alike_while_it_trains(
    name: str, alike: bool
) -> None:
    # Of the activations only a sigmoid is not 0 at 0, where nothing but the last bias learns.
    model = build(Head(units=(5,), activation="sigmoid", dropout=0.0, initializer=name))
    before = kernel(model, "hidden_1")
    fit(model)
    values = kernel(model, "hidden_1")
    assert np.abs(values - before).max() > 1e-4
    assert (np.ptp(values, axis=1).max() < 1e-6) == alike  # up to rounding


def test_zeros_with_hidden_layers_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "graft"):
        build(Head(initializer="zeros"))
        build(Head(units=(4,)))
        assert not caplog.records
        build(Head(units=(4,), initializer="zeros"))
    assert "head.initializer is zeros" in caplog.text


def test_zeros_without_hidden_layers_start_at_the_log_of_the_number_of_classes() -> None:
    model = build(Head(initializer="zeros"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(loss(np.arange(12) % 3, model(features_of()))) == pytest.approx(np.log(3))
    fit(model)
    assert np.ptp(kernel(model, "logits"), axis=1).min() > 0.01


def test_the_last_bias_starts_from_the_shares_of_the_classes() -> None:
    bias = prior_bias((60, 30, 10))
    logits = np.asarray(build(Head(), bias=bias)(np.zeros((1, 6))), np.float64)[0]
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), [0.6, 0.3, 0.1], rtol=1e-6)
    assert logits.sum() == pytest.approx(0, abs=1e-6)


def test_the_bias_of_two_classes_is_the_log_odds_of_the_second() -> None:
    model = build(Head(), class_count=2, bias=prior_bias((60, 20)))
    (logit,) = np.asarray(model(np.zeros((1, 6))))[0]
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(0.25)


def test_the_biases_of_many_labels_are_the_log_odds_of_each() -> None:
    model = build(Head(), class_count=2, many_labels=True, bias=prior_bias((0, 30), 40, True))
    assert model.output.shape == (None, 2)
    logits = np.asarray(model(np.zeros((1, 6))))[0]
    np.testing.assert_allclose(logits, [np.log(0.5 / 40.5), np.log(30.5 / 10.5)], rtol=1e-6)


def test_shares_that_cannot_be_known_are_refused() -> None:
    with pytest.raises(ValueError, match="image_count"):
        prior_bias((3, 4), many_labels=True)
    with pytest.raises(ValueError, match="every class needs an image"):
        prior_bias((3, 0, 4))


def test_penalties_are_on_every_dense_kernel_of_the_head_and_on_nothing_else() -> None:
    head = Head(units=(4,), residual=True, batch_norm=True, l1=0.01, l2=0.003)
    model = build(head)
    kernels = [kernel(model, name) for name in ("hidden_1", "hidden_1_projection", "logits")]
    wanted = sum(0.01 * np.abs(k).sum() + 0.003 * (k**2).sum() for k in kernels)
    assert len(model.losses) == 3
    assert sum(float(loss) for loss in model.losses) == pytest.approx(wanted, rel=1e-5)
    assert not build(Head(units=(4,), residual=True)).losses


def test_a_whole_head_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    head = Head(funnel=2, residual=True, batch_norm=True, activation="selu", l2=1e-3, l1=1e-4)
    model = build(head, 20, bias=prior_bias((5, 1, 2)))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    features = features_of(width=20)
    assert np.array_equal(model(features), again(features))
    assert [float(loss) for loss in again.losses] == [float(loss) for loss in model.losses]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (Head(features="every_block"), "set head.normalize true"),
        (Head(normalize=True), "on 6 normalized features random first weights add up to noise"),
        (Head(pooling="max"), "this backbone pools its own features"),
        (Head(features="every_block", normalize=True, initializer="zeros"), ""),
        (Head(normalize=True, units=(4,)), ""),
        (Head(features="every_block", pooling="max", normalize=True, units=(4,)), ""),
    ],
)
def test_settings_that_spoil_a_head_are_said(
    head: Head, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    build(head)
    assert said in caplog.text
    assert bool(said) == bool(caplog.records)
