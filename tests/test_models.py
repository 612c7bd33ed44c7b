"""The classifier's shape, its pixels, and what of it trains."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from app.backbones.blocks import base_of, blocks
from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.errors import RecipeError
from app.models import build_model, probabilities, unfreeze
from app.recipe import Head

COMPACT = find_backbone("compact")


def build(head: Head | None = None, class_count: int = 3, name: str = "compact") -> keras.Model:
    backbone = find_backbone(name)
    base, _ = build_backbone(backbone, 32, "none")
    return build_model(backbone, base, head or Head(), class_count, seed=0)


def norms(model: keras.Model) -> list[keras.Layer]:
    return [
        layer
        for layer in base_of(model).layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


def batch(count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, 32, 32, 3)).astype("uint8")
    return pixels, random.integers(0, 3, count)


def fit(model: keras.Model) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    model.fit(*batch(), epochs=2, verbose=0)


def statistics(model: keras.Model) -> bytes:
    return b"".join(
        np.asarray(variable).tobytes()
        for layer in norms(model)
        for variable in (layer.moving_mean, layer.moving_variance)
    )


def test_two_classes_share_one_logit_and_more_have_one_each() -> None:
    assert build(class_count=2).output.shape == (None, 1)
    assert build(class_count=3).output.shape == (None, 3)


def test_probabilities_of_two_classes_are_the_sigmoid_and_its_complement() -> None:
    logits = np.array([[-2.0], [0.0], [3.0]], "float32")
    shares = np.asarray(probabilities(logits))
    second = 1 / (1 + np.exp(-logits[:, 0]))
    np.testing.assert_allclose(shares, np.stack([1 - second, second], 1), rtol=1e-6)


def test_probabilities_of_many_classes_are_the_softmax() -> None:
    logits = np.random.default_rng(0).normal(0, 5, (4, 7)).astype("float32")
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(np.asarray(probabilities(logits)), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("mobilenet_v2_035", keras.applications.mobilenet_v2),
        ("resnet50", keras.applications.resnet),
        ("densenet121", keras.applications.densenet),
    ],
)
def test_raw_pixels_reach_the_backbone_as_its_family_scales_them(name: str, family) -> None:
    model = build(name=name)
    pixels = batch(2)[0].astype("float32")
    features = base_of(model)(family.preprocess_input(pixels.copy()), training=False)
    head = keras.Model(model.get_layer("pooling").input, model.output)
    np.testing.assert_allclose(model(pixels), head(features), rtol=1e-3, atol=1e-4)


def test_the_head_normalises_before_it_activates_and_then_needs_no_bias() -> None:
    model = build(Head(units=(16, 8), batch_norm=True, dropout=0.5))
    kinds = [type(layer).__name__ for layer in model.layers]
    hidden = ["Dropout", "Dense", "BatchNormalization", "Activation"]
    assert kinds[-10:] == [*hidden, *hidden, "Dropout", "Dense"]
    assert not model.get_layer("hidden_1").use_bias
    assert model.get_layer("logits").use_bias


def test_the_same_seed_gives_the_same_head() -> None:
    first, second = build(), build()
    logits = [np.asarray(model.get_layer("logits").kernel) for model in (first, second)]
    assert logits[0].tobytes() == logits[1].tobytes()


def test_logits_stay_float32_under_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"
    assert base_of(model).output.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("what", "first", "last"),
    [
        ("head", None, None),
        ("top:1", "stage4_block2", None),
        ("top:3", "stage3_block2", None),
        ("top:99", "stem", None),
        ("stage3_block2", "stage3_block2", None),
        ("0.3", "stage3_block2", None),
        ("1.0", "stem", None),
        ("all", "stem", None),
        ("stage3_block2..stage4_block1", "stage3_block2", "stage4_block1"),
        ("stem..stem", "stem", "stem"),
        ("stage4_block1..stage4_block2", "stage4_block1", "stage4_block2"),
    ],
)
def test_unfreezing_takes_the_blocks_that_were_asked_for(
    what: str, first: str | None, last: str | None
) -> None:
    model = build()
    names = list(blocks(model, COMPACT))
    end = names.index(last) + 1 if last else len(names)
    wanted = names[names.index(first) : end] if first else []
    assert unfreeze(model, COMPACT, what) == wanted
    for name, layers in blocks(model, COMPACT).items():
        kernels = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]
        assert all(layer.trainable == (name in wanted) for layer in kernels)
    assert model.get_layer("logits").trainable


@pytest.mark.parametrize("what", ["conv9", "conv9..features", "stem..conv9", "top", "1.5"])
def test_unfreezing_an_unknown_block_names_those_there_are(what: str) -> None:
    unknown = "conv9" if "conv9" in what else what
    with pytest.raises(RecipeError, match=rf"no block '{unknown}'.*stem, stage1_block1"):
        unfreeze(build(), COMPACT, what)


def test_blocks_the_wrong_way_round_are_told_the_right_way() -> None:
    with pytest.raises(RecipeError, match=r"unfreeze stem\.\.stage4_block2 instead"):
        unfreeze(build(), COMPACT, "stage4_block2..stem")


def test_blocks_after_those_that_train_stay_as_they_are() -> None:
    model = build()
    unfreeze(model, COMPACT, "stage4_block1..stage4_block1", train_batch_norm=True)
    before = {w.path: np.asarray(w).tobytes() for w in model.weights}
    fit(model)
    moved = {w.path for w in model.weights if np.asarray(w).tobytes() != before[w.path]}
    # Moving statistics are of the block too, though no gradient reaches them.
    assert {w.path for w in model.trainable_weights} < moved
    assert all("stage4_block1" in path or "logits" in path for path in moved)


def test_the_last_bias_starts_from_the_shares_of_the_classes_if_asked_to() -> None:
    base, _ = build_backbone(COMPACT, 32, "none")
    head = Head(output_bias="priors")
    model = build_model(COMPACT, base, head, 2, seed=0, class_counts=(30, 10))
    assert np.asarray(model.get_layer("logits").bias)[0] == pytest.approx(np.log(10 / 30))
    base, _ = build_backbone(COMPACT, 32, "none")
    model = build_model(COMPACT, base, head, 2, 0, True, class_counts=(30, 10), image_count=35)
    wanted = [np.log(30.5 / 5.5), np.log(10.5 / 25.5)]
    np.testing.assert_allclose(model.get_layer("logits").bias, wanted, rtol=1e-6)
    with pytest.raises(ValueError, match="needs class_counts"):
        build(head)


def test_frozen_batch_norm_keeps_its_statistics_byte_for_byte() -> None:
    model = build()
    unfreeze(model, COMPACT, "all")
    before = statistics(model)
    fit(model)
    assert statistics(model) == before


def test_inference_mode_alone_would_not_keep_batch_norm_statistics() -> None:
    base, _ = build_backbone(COMPACT, 32, "none")
    base.trainable = True
    pixels = keras.Input((32, 32, 3))
    features = base(keras.layers.Rescaling(1 / 127.5, -1)(pixels), training=False)
    model = keras.Model(pixels, keras.layers.Dense(3)(features))
    before = statistics(model)
    fit(model)
    assert statistics(model) != before


def test_batch_norm_trains_when_the_stage_says_so() -> None:
    model = build()
    unfreeze(model, COMPACT, "all", train_batch_norm=True)
    before = statistics(model)
    fit(model)
    assert statistics(model) != before


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_v2_b0"])
def test_frozen_blocks_give_the_same_features_each_time(name: str) -> None:
    """The blocks of EfficientNets drop whole paths at random, frozen or not, in Keras."""
    backbone = find_backbone(name)
    model = build(Head(dropout=0.0), name=name)
    pixels = batch(4)[0].astype("float32")
    # Fresh BatchNorm makes features of the size of dropout's noise, so compare relatively.
    unfreeze(model, backbone, "all")
    noisy = [np.asarray(model(pixels, training=True)) for _ in range(2)]
    assert not np.allclose(noisy[0], noisy[1], rtol=1e-3, atol=0)
    unfreeze(model, backbone, "head")
    still = [np.asarray(model(pixels, training=True)) for _ in range(2)]
    assert still[0].tobytes() == still[1].tobytes()


def test_frozen_batch_norm_of_a_published_network_keeps_its_statistics() -> None:
    model = build(name="mobilenet_v2_035")
    unfreeze(model, find_backbone("mobilenet_v2_035"), "all")
    before = statistics(model)
    fit(model)
    assert statistics(model) == before


def test_frozen_blocks_keep_their_weights_and_unfrozen_ones_do_not() -> None:
    model = build()
    unfreeze(model, COMPACT, "top:1")
    before = {w.path: np.asarray(w).tobytes() for w in model.weights}
    fit(model)
    moved = {w.path for w in model.weights if np.asarray(w).tobytes() != before[w.path]}
    trainable = {w.path for w in model.trainable_weights}
    assert moved == trainable
    assert any("stage4_block2" in path for path in moved)
    assert not any("stage4_block1" in path for path in moved)
