"""Weights from a network to a copy of it."""

from __future__ import annotations

import keras


def copy_weights(source: keras.Model, copy: keras.Model) -> None:
    """Gives a copy of a network the network's weights.

    Normalization computes with a mean and a deviation that it made of its weights once:
    of new weights it has to make them anew.

    Args:
        source: Has the weights.
        copy: Has layers of the same kinds in the same order, such as `clone_model` makes.
    """
    copy.set_weights(source.get_weights())
    for layer in copy._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
