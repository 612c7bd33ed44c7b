"""Explanations: where in an image a class was seen, worked out by hand where that can be done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.exports.explanation import heat, with_last_map
from app.exports.meaning import Meaning
from app.exports.saved_model import write_saved_model
from app.models import build_model
from app.recipe import Head
from tests.small_nets import BACKBONE, pictures, small_net

LINEAR = Head(dropout=0.0)


def told(model: keras.Model, pixels: np.ndarray, classes: list[int]) -> tuple[Any, Any]:
    explained = with_last_map(model)

    @tf.function
    def ask() -> Any:
        last, logits = explained(pixels, training=False)
        return heat(last, logits, tf.constant(classes, tf.int32))

    found, chosen = ask()
    return found.numpy(), chosen.numpy()


def last_maps(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    base = model.get_layer("backbone")
    inside = keras.Model(base.input, base.get_layer("stage1_block1_conv").output)
    scaled = pixels.astype("float32") / 127.5 - 1
    return np.asarray(inside(scaled, training=False))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_behind_a_linear_head_it_is_the_class_activation_map(number: int) -> None:
    model, pixels = small_net(LINEAR), pictures(4)[0]
    found, chosen = told(model, pixels, [number] * 4)
    kernel = np.asarray(model.get_layer("logits").kernel)[:, number]
    wanted = np.maximum(last_maps(model, pixels) @ kernel, 0)
    most = wanted.max(axis=(1, 2), keepdims=True)
    wanted = np.divide(wanted, most, out=np.zeros_like(wanted), where=most > 0)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert chosen.tolist() == [number] * 4


def test_the_likeliest_class_is_explained_if_none_is_asked_for() -> None:
    model, pixels = small_net(LINEAR), pictures(6)[0]
    likeliest = np.asarray(model(pixels, training=False)).argmax(axis=1)
    found, chosen = told(model, pixels, [-1] * 6)
    by_name, _ = told(model, pixels, likeliest.tolist())
    assert chosen.tolist() == likeliest.tolist()
    np.testing.assert_array_equal(found, by_name)


def test_two_classes_that_share_a_logit_are_explained_by_opposite_slopes() -> None:
    model, pixels = small_net(LINEAR, classes=2), pictures(4, classes=2)[0]
    kernel = np.asarray(model.get_layer("logits").kernel)[:, 0]
    for number, sign in enumerate((-1, 1)):
        found, _ = told(model, pixels, [number] * 4)
        speaks = last_maps(model, pixels) @ kernel * sign > 1e-6
        np.testing.assert_array_equal(found > 1e-6, speaks)


@pytest.mark.parametrize("number", [3, -2])
def test_a_class_that_is_none_is_refused(number: int) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="there is no such class"):
        told(small_net(LINEAR), pictures(1)[0], [number])


def flat_net() -> keras.Model:
    pixels = keras.Input((16, 16, 3), name="pixels")
    base = keras.Model(pixels, keras.layers.Flatten(name="stem_flat")(pixels), name="backbone")
    return build_model(BACKBONE, base, LINEAR, 3, seed=0)


def test_a_network_without_maps_has_no_explanations(tmp_path: Path) -> None:
    model = flat_net()
    assert with_last_map(model) is None
    write_saved_model(model, Meaning(("a", "b", "c")), tmp_path)
    assert "explain" not in tf.saved_model.load(str(tmp_path)).signatures


def test_the_export_explains_files_and_one_that_cannot_be_read_spoils_no_other(
    tmp_path: Path,
) -> None:
    model, pixels = small_net(LINEAR), pictures(2)[0]
    write_saved_model(model, Meaning(("a", "b", "c")), tmp_path)
    explain = tf.saved_model.load(str(tmp_path)).signatures["explain"]
    files = [tf.io.encode_png(image).numpy() for image in pixels]
    said = explain(
        image_bytes=tf.constant([files[0], b"bad", files[1]]),
        class_index=tf.constant([2, 2, 0]),
    )
    np.testing.assert_allclose(said["heat"][0], told(model, pixels, [2, 2])[0][0], atol=1e-5)
    np.testing.assert_allclose(said["heat"][2], told(model, pixels, [0, 0])[0][1], atol=1e-5)
    assert not said["heat"][1].numpy().any()
    assert said["label"].numpy().tolist() == [b"c", b"", b"a"]
    assert [bool(each) for each in said["error"].numpy()] == [False, True, False]
