"""The frozen boundary: both parts together are the classifier, and what trains lies above."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.features.cutting import cut, cut_below, fingerprint
from app.heads import NORMALIZED
from app.models import build_model, unfreeze
from app.recipe import Head
from tests.small_nets import BACKBONE, pictures, small_net


def classifier(name: str, head: Head) -> keras.Model:
    backbone = find_backbone(name)
    keras.utils.set_random_seed(0)
    base, _ = build_backbone(backbone, 32, "none")
    return build_model(backbone, base, head, 3, seed=0)


@pytest.mark.parametrize(
    ("name", "what", "crossing"),
    [
        ("compact", "head", "backbone"),
        # The pooled outputs of frozen stages lie below, though their block is the last one.
        ("compact", "top:2", "stage3_block2_relu+features_stage1+features_stage2+features_stage3"),
        ("mobilenet_v2_035", "head", "pooling"),
        ("mobilenet_v2_035", "top:2", "block_15_add"),
        ("efficientnet_v2_b0", "top:1", "block6h_add"),
    ],
)
def test_both_parts_together_are_the_classifier(name: str, what: str, crossing: str) -> None:
    model = classifier(name, Head(units=(8,), residual=True, dropout=0.5))
    unfreeze(model, find_backbone(name), what)
    divided = cut(model)
    assert divided is not None
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    found = divided.above(divided.below(pixels))
    np.testing.assert_array_equal(found, model(pixels))
    assert divided.name == crossing
    assert divided.width == sum(int(np.prod(s)) for s in divided.shapes)
    trained = {id(weight) for weight in divided.above.trainable_weights}
    assert trained == {id(weight) for weight in model.trainable_weights}
    assert not divided.below.trainable_weights


def test_a_normalised_head_learns_from_what_crosses_below_it() -> None:
    head = Head(features="every_block", normalize=True)
    model = classifier("compact", head)
    unfreeze(model, find_backbone("compact"), "head")
    divided, below = cut(model), cut_below(model, NORMALIZED)
    assert divided is not None
    assert divided.name == below.name == "backbone"
    assert divided.shapes == below.shapes
    assert fingerprint(divided.below) == fingerprint(below.below)
    assert divided.above.get_layer(NORMALIZED)


def test_two_poolings_of_the_same_maps_are_told_apart() -> None:
    """Both have the name and the weights of the backbone."""
    prints = set()
    for pooling in ("average", "max"):
        model = classifier("compact", Head(features="every_block", normalize=True, pooling=pooling))
        unfreeze(model, find_backbone("compact"), "head")
        divided = cut(model)
        assert divided is not None
        prints.add((divided.name, divided.width, fingerprint(divided.below)))
    assert len({name for name, _, _ in prints}) == 1
    assert len(prints) == 2


def test_heads_with_and_without_dropout_read_the_same_rows() -> None:
    names = []
    for rate in (0.0, 0.3):
        model = classifier("mobilenet_v2_035", Head(dropout=rate))
        unfreeze(model, find_backbone("mobilenet_v2_035"), "head")
        divided = cut(model)
        assert divided is not None
        names.append(divided.name)
    assert names == ["pooling", "pooling"]


def test_frozen_blocks_of_a_head_that_hears_all_are_pooled_below() -> None:
    model = classifier("mobilenet_v2_035", Head(features="every_block", normalize=True))
    unfreeze(model, find_backbone("mobilenet_v2_035"), "top:2")
    divided = cut(model)
    assert divided is not None
    maps = [shape for shape in divided.shapes if len(shape) == 3]
    assert len(maps) == 1, "one map feeds the blocks that train"
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(divided.above(divided.below(pixels)), model(pixels))


def test_what_is_below_draws_nothing() -> None:
    """EfficientNet drops whole paths in training, in blocks that train alone."""
    model = classifier("efficientnet_v2_b0", Head())
    unfreeze(model, find_backbone("efficientnet_v2_b0"), "top:1")
    divided = cut(model)
    assert divided is not None
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    still, training = divided.below(pixels), divided.below(pixels, training=True)
    np.testing.assert_array_equal(still, training)


def test_a_network_that_trains_from_its_first_layer_has_no_boundary() -> None:
    model = small_net()
    unfreeze(model, BACKBONE, "all")
    assert cut(model) is None


def test_scaling_alone_is_not_worth_a_boundary() -> None:
    """EfficientNet normalises its input by a layer of its own, which never trains."""
    model = classifier("efficientnet_v2_b0", Head())
    unfreeze(model, find_backbone("efficientnet_v2_b0"), "all")
    assert cut(model) is None


def test_training_above_trains_the_classifier() -> None:
    model = small_net()
    unfreeze(model, BACKBONE, "top:1")
    divided = cut(model)
    assert divided is not None
    pixels, labels = pictures(12)
    before = [np.array(weight) for weight in model.weights]
    divided.above.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    divided.above.fit(divided.below(pixels), labels, verbose=0)
    changed = {
        weight.path.split("/")[0]
        for weight, old in zip(model.weights, before, strict=True)
        if not np.array_equal(weight, old)
    }
    assert changed == {"logits", "stage1_block1_conv"}
    np.testing.assert_array_equal(divided.above(divided.below(pixels)), model(pixels))


def test_the_fingerprint_tells_other_weights_apart() -> None:
    model = small_net()
    unfreeze(model, BACKBONE, "head")
    divided = cut(model)
    assert divided is not None
    prints = {fingerprint(divided.below)}
    for weight in divided.below.weights:
        values = np.array(weight)
        values.flat[-1] += 1e-3
        weight.assign(values)
        prints.add(fingerprint(divided.below))
    assert len(prints) == 1 + len(divided.below.weights)


def test_the_head_has_no_part_in_the_fingerprint() -> None:
    model = small_net()
    unfreeze(model, BACKBONE, "head")
    divided = cut(model)
    assert divided is not None
    before = fingerprint(divided.below)
    for weight in model.get_layer("logits").weights:
        weight.assign(np.array(weight) + 1)
    assert fingerprint(divided.below) == before
