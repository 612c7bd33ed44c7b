from __future__ import annotations

import re

import keras
import pytest

from app.backbones.backbone import Backbone
from app.backbones.blocks import base_of, blocks, boundary
from app.backbones.build import build_backbone
from app.backbones.table import BACKBONES

# The smallest of each family, and those of a family that are built in another way.
ONE_OF_EACH = [
    "compact",
    "mobilenet_025",
    "mobilenet_v2_035",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "efficientnet_v2_b0",
    "efficientnet_v2_s",
    "resnet50",
    "resnet50_v2",
    "densenet121",
    "xception",
    "inception_v3",
    "inception_resnet_v2",
    "nasnet_mobile",
    "convnext_tiny",
]
# Cells of NASNet read two cells; the last block of compact reads every stage.
SEVERAL_TENSORS = {"nasnet_mobile": 2, "nasnet_large": 2, "compact": 4}
KNOWN_BLOCKS = {
    "compact": ["stem", "stage1_block1", "stage1_block2", "stage4_block2"],
    "mobilenet_025": ["stem", "block_1", "block_13"],
    "mobilenet_v2_035": ["stem", "block_0", "block_1", "block_16", "top"],
    "mobilenet_v3_small": ["stem", "block_0", "block_10", "top"],
    "efficientnet_b0": ["stem", "block1a", "block2b", "block7a", "top"],
    "efficientnet_v2_b0": ["stem", "block1a", "block6h", "top"],
    "resnet50": ["stem", "conv2_block1", "conv5_block3"],
    "resnet50_v2": ["stem", "conv2_block1", "conv5_block3", "top"],
    "densenet121": ["stem", "conv2_block6", "pool2", "conv3_block1", "conv5_block16", "top"],
    "xception": ["block1", "block2", "block14"],
    "inception_v3": ["stem", "mixed0", "mixed9", "mixed10"],
    "inception_resnet_v2": ["stem", "mixed_5b", "block35_1", "mixed_6a", "block8_10", "top"],
    "nasnet_mobile": ["stem", "stem_1", "stem_2", "cell_0", "reduce_4", "cell_5", "cell_12"],
    "convnext_tiny": ["stem", "stage_0_block_0", "stage_1_block_0", "stage_3_block_2", "top"],
}


def built(name: str) -> keras.Model:
    backbone = BACKBONES[name]
    return build_backbone(backbone, backbone.min_size, "none")[0]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in ONE_OF_EACH else pytest.mark.slow)
        for name in BACKBONES
    ],
)
def network(request: pytest.FixtureRequest) -> tuple[Backbone, keras.Model]:
    """A backbone built small; each is built once for all tests and then forgotten."""
    return BACKBONES[request.param], built(request.param)


Network = tuple[Backbone, keras.Model]


def test_stored_number_of_parameters_is_that_of_the_network(network: Network) -> None:
    backbone, base = network
    assert base.count_params() == backbone.parameters


def test_every_layer_is_in_exactly_one_block(network: Network) -> None:
    backbone, base = network
    found = [id(layer) for layers in blocks(base, backbone).values() for layer in layers]
    assert sorted(found) == sorted(id(layer) for layer in base.layers)


def test_blocks_come_in_the_order_of_the_network(network: Network) -> None:
    backbone, base = network
    place = {id(layer): number for number, layer in enumerate(base.layers)}
    grouped = [[place[id(layer)] for layer in layers] for layers in blocks(base, backbone).values()]
    starts = [places[0] for places in grouped]
    assert starts == sorted(starts)
    assert all(places == sorted(places) for places in grouped)


def test_one_tensor_leads_into_the_blocks_above_any_block(network: Network) -> None:
    backbone, base = network
    most = SEVERAL_TENSORS.get(backbone.name, 1)
    groups = list(blocks(base, backbone).values())
    for number in range(1, len(groups)):
        above = [layer for layers in groups[number:] for layer in layers]
        assert 1 <= len(boundary(base, above)) <= most


def test_every_block_has_weights(network: Network) -> None:
    backbone, base = network
    grouped = blocks(base, backbone)
    assert all(any(layer.weights for layer in layers) for layers in grouped.values())


def test_blocks_have_their_plain_names_in_order(network: Network) -> None:
    backbone, base = network
    names = list(blocks(base, backbone))
    known = KNOWN_BLOCKS.get(backbone.name, [names[0], names[-1]])
    assert (names[0], names[-1]) == (known[0], known[-1])
    assert [block for block in names if block in known] == known
    assert all(re.fullmatch(r"[a-z]\w*", block) for block in names)


@pytest.mark.parametrize("name", ["xception", "inception_v3", "mobilenet_v3_small"])
def test_blocks_are_the_same_however_often_the_network_was_built(name: str) -> None:
    bases = [built(name), built(name)]
    first, second = (
        [(block, [type(layer) for layer in layers]) for block, layers in grouped.items()]
        for grouped in (blocks(base, BACKBONES[name]) for base in bases)
    )
    assert [x.name for x in bases[0].layers] != [x.name for x in bases[1].layers]
    assert first == second


def test_blocks_are_found_in_a_model_that_holds_the_backbone() -> None:
    base = built("mobilenet_025")
    pixels = keras.Input((32, 32, 3))
    model = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(base(pixels)))
    backbone = BACKBONES["mobilenet_025"]
    assert base_of(model) is base
    assert blocks(model, backbone) == blocks(base, backbone)


def test_boundary_splits_a_network_into_two_that_agree_with_it() -> None:
    base = built("convnext_tiny")
    groups = list(blocks(base, BACKBONES["convnext_tiny"]).values())
    (tensor,) = boundary(base, [layer for layers in groups[5:] for layer in layers])
    images = keras.random.uniform((2, 32, 32, 3), 0, 255, seed=1)
    lower = keras.Model(base.input, tensor)
    upper = keras.Model(tensor, base.output)
    assert keras.ops.all(upper(lower(images)) == base(images))


def test_nothing_leads_into_the_whole_network() -> None:
    base = built("compact")
    assert boundary(base, base.layers) == []
