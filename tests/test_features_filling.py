"""What frozen blocks make of images is computed once, and found again whoever asks."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.data.augmentation import Augmenter
from app.data.index import Image, build_index
from app.data.sources import list_images
from app.data.views import view_batches
from app.features import filling
from app.features.cutting import cut
from app.features.filling import Frozen, batch_size, forward_of, kept_forward_of
from app.models import unfreeze
from app.recipe import Augmentation
from tests.making import make_folder
from tests.small_nets import BACKBONE, small_net

SIZE = 16


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Image, ...]:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    folder = make_folder(tmp_path / "photos", {"a": 10, "b": 10})
    return build_index(list_images(str(folder)), 0.1, 0.1, 0).images


def frozen(preset: str = "light", seed: int = 0, model: keras.Model | None = None) -> Frozen:
    if model is None:
        model = small_net()
        unfreeze(model, BACKBONE, "head")
    divided = cut(model)
    assert divided is not None
    return Frozen(divided, "small", SIZE, Augmenter(Augmentation(preset), SIZE, seed))


def rows(each: Frozen, images: tuple[Image, ...], views: int = 1) -> list[np.ndarray]:
    with ExitStack() as within:
        opened = each.collections(views, within)
        for view in range(views):
            each.fill(opened[view], images, view, "test")
        return [each.rows(opened[v], images, v).load() for v in range(views)]


def computed(each: Frozen, images: tuple[Image, ...], view: int) -> np.ndarray:
    (pixels,) = view_batches(images, view, each.augmenter, SIZE, len(images))
    return np.asarray(each.cut.below(pixels.numpy().astype("float32")))


def test_a_row_is_what_the_network_makes_of_that_view(images: tuple[Image, ...]) -> None:
    each = frozen()
    for view, found in enumerate(rows(each, images, views=3)):
        np.testing.assert_allclose(found, computed(each, images, view), rtol=1e-3, atol=1e-3)
    first, second, third = rows(each, images, views=3)
    assert not np.allclose(first, second, atol=1e-2)
    assert not np.allclose(second, third, atol=1e-2)


def test_the_first_view_is_the_image_as_it_is(images: tuple[Image, ...]) -> None:
    (found,) = rows(frozen("strong"), images)
    plain = computed(frozen("none"), images, 0)
    np.testing.assert_allclose(found, plain, rtol=1e-3, atol=1e-3)


def test_what_is_kept_is_not_computed_again(images: tuple[Image, ...]) -> None:
    before = rows(frozen(), images, views=2)
    for image in images:
        image.path.unlink()  # whoever reads one now fails
    after = rows(frozen(), images, views=2)
    np.testing.assert_array_equal(before, after)


def test_other_images_are_added_to_those_that_are_kept(images: tuple[Image, ...]) -> None:
    rows(frozen(), images[:7])
    for image in images[:7]:
        image.path.unlink()
    (found,) = rows(frozen(), images[::-1])
    assert len(found) == len(images)


def test_the_image_as_it_is_serves_every_seed_and_augmentation(images: tuple[Image, ...]) -> None:
    rows(frozen("light", seed=0), images)
    for image in images:
        image.path.unlink()
    assert len(rows(frozen("strong", seed=1), images)[0]) == len(images)


@pytest.mark.parametrize("other", [{"seed": 1}, {"preset": "medium"}])
def test_varied_views_are_those_of_seed_and_augmentation(
    images: tuple[Image, ...], other: dict[str, object]
) -> None:
    one = rows(frozen(), images, views=2)[1]
    two = rows(frozen(**other), images, views=2)[1]  # type: ignore[arg-type]  # either of two
    assert not np.array_equal(one, two)


def test_other_weights_have_other_rows(images: tuple[Image, ...]) -> None:
    model = small_net()
    unfreeze(model, BACKBONE, "head")
    (before,) = rows(frozen(model=model), images)
    kernel = model.get_layer("backbone").get_layer("stem_conv").kernel
    kernel.assign(np.array(kernel) * 2)
    (after,) = rows(frozen(model=model), images)
    assert not np.array_equal(before, after)


def test_several_tensors_share_a_row(images: tuple[Image, ...]) -> None:
    each = frozen()
    inputs = each.cut.below.input
    base = each.cut.below.get_layer("backbone")
    both = keras.Model(base.input, [base.get_layer("stem_relu").output, base.output])
    below = keras.Model(inputs, both(keras.layers.Rescaling(1 / 127.5, -1)(inputs)))
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), "uint8")
    first, second = (np.asarray(part) for part in below(pixels.astype("float32")))
    expected = np.concatenate([first.reshape(3, -1), second], axis=1)
    np.testing.assert_allclose(forward_of(below)(pixels), expected, atol=1e-5)


def test_for_a_gpu_the_graph_is_compiled_and_small_batches_are_filled_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    below = frozen().cut.below
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), "uint8")
    plain = forward_of(below)(pixels)
    monkeypatch.setattr("app.features.filling._on_gpu", lambda: True)
    assert batch_size() == 64
    found = forward_of(below)(tf.constant(pixels))
    assert found.shape == plain.shape
    np.testing.assert_allclose(found, plain, atol=1e-5)


def test_a_forward_is_made_again_for_other_weights_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    forward = filling.forward_of
    monkeypatch.setattr(filling, "forward_of", lambda below: made.append(1) or forward(below))
    monkeypatch.setattr(filling, "_kept_forward", {})
    model = small_net()
    unfreeze(model, BACKBONE, "head")
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), "uint8")
    once, again = (kept_forward_of(frozen(model=model).cut)(pixels) for _ in range(2))
    assert made == [1]
    np.testing.assert_array_equal(once, again)
    kernel = model.get_layer("backbone").get_layer("stem_conv").kernel
    kernel.assign(np.array(kernel) * 2)
    changed = kept_forward_of(frozen(model=model).cut)(pixels)
    assert made == [1, 1]
    assert not np.array_equal(once, changed)


def test_the_same_contents_have_one_row(images: tuple[Image, ...]) -> None:
    copies = (images[0], replace(images[0], split="test"), images[1])
    (found,) = rows(frozen(), copies)
    np.testing.assert_array_equal(found[0], found[1])
