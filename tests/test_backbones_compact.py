from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.backbones.compact import build_compact, without_places


@pytest.fixture(scope="module")
def base() -> keras.Model:
    return build_compact(96)


def test_compact_has_between_one_and_one_and_a_half_million_parameters(base: keras.Model) -> None:
    assert 1_000_000 < base.count_params() < 1_500_000


@pytest.mark.parametrize("size", [32, 33, 50, 96])
def test_any_size_from_32_gives_one_vector_an_image(size: int) -> None:
    features = build_compact(size)(np.zeros((2, size, size, 3), "float32"))
    assert features.shape == (2, 1840)


def maps_of(base: keras.Model, size: int) -> tuple[np.ndarray, list[np.ndarray]]:
    images = np.random.default_rng(0).uniform(-1, 1, (2, size, size, 3)).astype("float32")
    stages = [base.get_layer(f"stage{stage}_block2_relu").output for stage in (1, 2, 3, 4)]
    return images, [np.asarray(each) for each in keras.Model(base.input, stages)(images)]


@pytest.mark.parametrize("size", [96, 72])  # of 72 pixels the last maps are 5 x 5: they are odd
def test_features_are_quarters_and_deviation_of_the_maps_of_all_stages(size: int) -> None:
    base = build_compact(size)
    images, maps = maps_of(base, size)
    if size == 96:
        sides = [(48, 48, 32), (24, 24, 64), (12, 12, 112), (6, 6, 160)]
        assert [each.shape[1:] for each in maps] == sides
    pooled = []
    for each in maps:
        half, rest = (each.shape[1] + 1) // 2, each.shape[1] // 2
        halves = (slice(half), slice(rest, None))
        pooled += [each[:, rows, cols].mean(axis=(1, 2)) for rows in halves for cols in halves]
        pooled += [np.sqrt(each.var(axis=(1, 2)) + 1e-5)]
    np.testing.assert_allclose(base(images), np.concatenate(pooled, axis=-1), rtol=1e-4, atol=1e-5)


def test_without_places_means_and_deviations_of_the_same_maps_are_left(base: keras.Model) -> None:
    images, maps = maps_of(base, 96)
    left = without_places(base)
    pooled = []
    for each in maps:
        pooled += [each.mean(axis=(1, 2)), np.sqrt(each.var(axis=(1, 2)) + 1e-5)]
    np.testing.assert_allclose(left(images), np.concatenate(pooled, axis=-1), rtol=1e-4, atol=1e-5)
    assert [id(each) for each in left.weights] == [id(each) for each in base.weights]


def test_half_precision_pools_in_whole_floats(base: keras.Model) -> None:
    large = np.full((1, 32, 32, 3), 200.0, "float32")  # squares of what follows overflow
    keras.config.set_dtype_policy("mixed_float16")
    features = np.asarray(build_compact(32)(large), "float32")
    assert np.isfinite(features).all()


def test_flat_images_have_finite_gradients(base: keras.Model) -> None:
    flat = tf.zeros((1, 96, 96, 3))
    with tf.GradientTape() as tape:
        tape.watch(flat)
        loss = tf.reduce_sum(base(flat))
    assert np.isfinite(tape.gradient(loss, flat)).all()


def test_convolutions_are_plain_without_bias_and_he_normal(base: keras.Model) -> None:
    kinds = {type(layer).__name__ for layer in base.layers}
    assert not any("Depthwise" in kind or "Separable" in kind for kind in kinds)
    for layer in base.layers:
        if isinstance(layer, keras.layers.Conv2D):
            assert not layer.use_bias
            assert isinstance(layer.kernel_initializer, keras.initializers.HeNormal)


def test_random_features_neither_vanish_nor_explode(base: keras.Model) -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (4, 96, 96, 3)).astype("float32")
    features = np.asarray(base(images))
    assert 0.01 < features.mean() < 100
    assert (features.std(axis=0) > 0).mean() > 0.9


def test_saved_compact_answers_the_same(base: keras.Model, tmp_path) -> None:
    base.save(tmp_path / "compact.keras")
    again = keras.saving.load_model(tmp_path / "compact.keras")
    images = np.random.default_rng(0).uniform(-1, 1, (2, 96, 96, 3)).astype("float32")
    np.testing.assert_array_equal(base(images), again(images))


def test_compact_can_be_trained(base: keras.Model) -> None:
    pixels = keras.Input((32, 32, 3))
    model = keras.Model(pixels, keras.layers.Dense(2)(build_compact(32)(pixels)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)  # half the time: traced once
    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (32, 32, 32, 3)).astype("float32")
    labels = np.arange(32) % 2
    images[labels == 1, 8:24, 8:24] += 1
    losses = model.fit(images, labels, batch_size=16, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
