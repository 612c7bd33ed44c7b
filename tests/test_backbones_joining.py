"""Features of every block: which maps are heard, and what they are pooled to."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from app.backbones.blocks import blocks
from app.backbones.build import build_backbone
from app.backbones.joining import join_blocks
from app.backbones.table import find_backbone


def built(name: str) -> keras.Model:
    backbone = find_backbone(name)
    return build_backbone(backbone, max(backbone.min_size, 32), "none")[0]


def pooled_layers(joined: keras.Model) -> dict[str, str]:
    """Which layer each block is heard at."""
    pools = [x for x in joined.layers if x.name.startswith("features_") and "joined" not in x.name]
    return {
        pool.name.removeprefix("features_"): pool.input._keras_history.operation.name
        for pool in pools
    }


@pytest.mark.parametrize(
    ("name", "heard"),
    [
        ("mobilenet_v2_035", {"block_5": "block_5_depthwise_relu", "top": "out_relu"}),
        ("resnet50", {"stem": "pool1_pool", "conv4_block2": "conv4_block2_out"}),
        ("efficientnet_v2_b0", {"block5a": "block5a_se_excite", "top": "top_activation"}),
        ("compact", {"stage2_block1": "stage2_block1_relu", "stage4_block2": "stage4_block2_relu"}),
    ],
)
def test_each_block_is_heard_once_where_it_is_widest(name: str, heard: dict[str, str]) -> None:
    backbone, base = find_backbone(name), built(name)
    joined = join_blocks(base, backbone)
    found = pooled_layers(joined)
    assert list(found) == list(blocks(base, backbone))
    assert heard.items() <= found.items()
    assert joined.output.shape[-1] == sum(
        base.get_layer(layer).output.shape[-1] for layer in found.values()
    )


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_a_feature_is_the_pooled_map_of_its_block(pooling: str) -> None:
    backbone, base = find_backbone("compact"), built("compact")
    joined = join_blocks(base, backbone, pooling)
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    maps = keras.Model(base.input, [base.get_layer("stem_relu").output, base.layers[-1].output])
    first = np.asarray(maps(pixels)[0])
    pooled = first.mean(axis=(1, 2)) if pooling == "average" else first.max(axis=(1, 2))
    np.testing.assert_allclose(joined(pixels)[:, : pooled.shape[1]], pooled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["mobilenet_v2_035", "efficientnet_v2_b0", "nasnet_mobile"])
def test_what_joins_the_features_belongs_to_the_last_block(name: str) -> None:
    backbone, base = find_backbone(name), built(name)
    before = {block: [x.name for x in layers] for block, layers in blocks(base, backbone).items()}
    grouped = blocks(join_blocks(base, backbone), backbone)
    after = {block: [x.name for x in layers] for block, layers in grouped.items()}
    assert list(after) == list(before)
    last = list(after)[-1]
    assert set(after[last]) - set(before[last]) == {
        name for names in after.values() for name in names if name.startswith("features_")
    }
    assert {block: set(names) for block, names in after.items() if block != last} == {
        block: set(names) for block, names in before.items() if block != last
    }
