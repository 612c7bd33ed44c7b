"""How the layers of each family fall into named blocks. Standard library only.

Keras names most layers after the block that they are in; the rest carry a counter
(`conv2d_17`) that depends on what was built before in the same process. So a rule
reads the telling names only, and says where the others go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Silent = Literal["previous", "next", "reader"]

SAME = "(the block before)"
STEM = "stem"
# What `join_blocks` adds, and `compact` has by itself: it belongs to the last block, and trains
# nothing.
JOINED = (r"features_", SAME)


@dataclass(frozen=True)
class Grouping:
    r"""A rule that names the block of a layer.

    Attributes:
        names: Pairs of a regular expression, matched from the start of a layer's name,
            and the block's name, in which `\1` is the first group. The first match
            counts. `SAME` stands for the block of the last telling layer. `STEM`
            counts only as long as no other block has begun.
        silent: Where layers go whose name tells nothing: to the block of the `previous`
            telling layer, of the `next` one, or of the layer that is first to read them.
    """

    names: tuple[tuple[str, str], ...]
    silent: Silent = "previous"

    def block_of(self, layer_name: str) -> str | None:
        """Reads the block from a layer's name; None if the name tells nothing."""
        for pattern, block in (*self.names, JOINED):
            if match := re.match(pattern, layer_name):
                return match.expand(block)
        return None


MOBILENET = Grouping(((r"conv_(?:pad|dw|pw)_(\d+)", r"block_\1"),))

MOBILENET_V2 = Grouping(
    (
        (r"expanded_conv_", "block_0"),
        (r"(block_\d+)_", r"\1"),
        (r"Conv_1$", "top"),
    )
)

MOBILENET_V3 = Grouping(
    (
        (r"expanded_conv_(\d+)_", r"block_\1"),
        (r"expanded_conv_", "block_0"),
        (r"conv_1$", "top"),
    )
)

EFFICIENTNET = Grouping(((r"(block\d+[a-z]+)_", r"\1"), (r"top_", "top")))

RESNET = Grouping(((r"(conv\d_block\d+)_", r"\1"), (r"post_bn$", "top")))

DENSENET = Grouping(
    (
        (r"(conv\d_block\d+)_", r"\1"),
        (r"(pool\d)_", r"\1"),
        (r"bn$", "top"),
    )
)

XCEPTION = Grouping(((r"(block\d+)_", r"\1"),))

# A mixed layer gathers the branches of its block, and only it has a name. The pooling
# in front of the first one ends the stem; later ones are branches.
INCEPTION_V3 = Grouping(
    ((r"(mixed\d+)$", r"\1"), (r"max_pooling2d", STEM)),
    silent="next",
)

INCEPTION_RESNET_V2 = Grouping(
    (
        (r"(mixed_\w+)$", r"\1"),
        (r"(block\d+_\d+)_", r"\1"),
        (r"custom_scale_layer", SAME),
        (r"conv_7b", "top"),
        (r"max_pooling2d", STEM),
    ),
    silent="next",
)

# Cells read two cells before them, so the order of layers does not tell cells apart.
NASNET = Grouping(
    (
        (r"stem_", STEM),
        (r"(?:separable|adjust|reduction)_\w+_(stem_\d+|reduce_\d+)$", r"\1"),
        (r"(?:separable|adjust|normal)_\w+_(\d+)$", r"cell_\1"),
    ),
    silent="reader",
)

CONVNEXT = Grouping(
    (
        (r"\w*(stage_\d+_block_\d+)_", r"\1"),
        # What makes the image smaller belongs to the stage that it leads to.
        *((rf"\w*downsampling_block_{n}$", f"stage_{n + 1}_block_0") for n in range(3)),
        (r"layer_normalization", "top"),
    )
)

COMPACT = Grouping(((r"(stage\d_block\d)_", r"\1"),))
