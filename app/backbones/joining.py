"""Features from every block of a backbone, in place of its last feature map alone."""

from __future__ import annotations

import keras
from keras import layers

from app.backbones.backbone import Backbone
from app.backbones.blocks import blocks

# How a map becomes a vector.
POOLINGS = {"average": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}


def join_blocks(base: keras.Model, backbone: Backbone, pooling: str = "average") -> keras.Model:
    """Makes a backbone give what all of its blocks found in an image.

    The upper blocks know best what ImageNet shows; what tells other images apart is often lower
    down. A linear head on features of all depths comes near to fine-tuning, for the price of one
    forward pass (Evci et al. 2022, "Head2Toe", arXiv 2201.03529).

    Each block gives the widest of its feature maps, the last of them if there are several: after
    the activation, and in inverted bottlenecks before the projection, whose few channels are
    linear combinations of those.

    Args:
        base: From `build_backbone`, or the like of it.
        backbone: What is known of it.
        pooling: One of `POOLINGS`.

    Returns:
        A model on the same layers with the same name, features `[n, sum of the widths]` out.
    """
    maps = {name: _widest(part) for name, part in blocks(base, backbone).items()}
    if len(base.output.shape) == 4:
        maps[list(maps)[-1]] = base.output
    pool = POOLINGS[pooling]
    pooled = [
        pool(name=f"features_{name}")(each) for name, each in maps.items() if each is not None
    ]
    joined = layers.Concatenate(name="features_joined")(pooled)
    return keras.Model(base.input, joined, name=base.name)


def _widest(part: list[keras.Layer]) -> keras.KerasTensor | None:
    """Finds the last of the widest maps that a block makes; it may make none."""
    made = [layer.output for layer in part if not isinstance(layer, layers.InputLayer)]
    maps = [tensor for tensor in made if len(tensor.shape) == 4]
    return max(reversed(maps), key=lambda tensor: tensor.shape[-1], default=None)
