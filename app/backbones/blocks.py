"""The named blocks of a built backbone, from its input to its output."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras

from app.backbones.backbone import Backbone
from app.backbones.grouping import SAME, STEM, Grouping


def blocks(model: keras.Model, backbone: Backbone) -> dict[str, list[keras.Layer]]:
    """Groups the layers of a backbone into blocks that can be unfrozen one by one.

    Args:
        model: The backbone as it was built, or a model that holds it as its layer
            `backbone`.
        backbone: What is known of it.

    Returns:
        The layers of each block by its name. Blocks and layers come in the order of
        the network, and each layer is in exactly one block.
    """
    base = base_of(model)
    grouped: dict[str, list[keras.Layer]] = {}
    for operation, block in zip(
        base.operations, _block_names(base.operations, backbone.grouping), strict=True
    ):
        if isinstance(operation, keras.Layer):
            grouped.setdefault(block, []).append(operation)
    return _without_bare_input(grouped)


def base_of(model: keras.Model) -> keras.Model:
    """Finds the backbone in a model: its layer `backbone`, or the model itself."""
    return next((layer for layer in model.layers if layer.name == "backbone"), model)


def around_backbone(model: keras.Model) -> tuple[keras.KerasTensor, keras.Model, keras.KerasTensor]:
    """Finds what enters the backbone of a classifier, and what leaves it.

    Layers inside a backbone cannot be reached from the pixels in one piece: the backbone is
    called there as a single layer.

    Args:
        model: From `build_model`.

    Returns:
        What enters the backbone, the backbone, and the features that it gives.

    Raises:
        ValueError: If no layer is named `backbone`.
    """
    operations = model.operations
    place = [operation.name for operation in operations].index("backbone")
    features = boundary(model, operations[place + 1 :])[0]
    return operations[place - 1].output, operations[place], features


def boundary(model: keras.Model, layers: Iterable[keras.Layer]) -> list[keras.KerasTensor]:
    """Lists the tensors by which the rest of a network feeds some of its layers.

    Below the blocks that are trained this is what can be computed once and kept. It is
    a single tensor below every block, save that NASNet's cells read the two cells before
    them and that `compact` hands the output of each stage to its last block.

    Args:
        model: The backbone.
        layers: Layers of it, such as those of its last blocks.

    Returns:
        Tensors that `layers` read and none of them makes, in the order of the network.
    """
    inside = {id(layer) for layer in layers}

    def belongs(operation: Any, fed: bool) -> bool:
        # Sums written as `a + b` are operations, not layers: they go with what feeds them.
        return id(operation) in inside or (fed and not isinstance(operation, keras.Layer))

    return crossing(model, belongs)


def crossing(model: keras.Model, belongs: Callable[[Any, bool], bool]) -> list[keras.KerasTensor]:
    """Lists the tensors by which one part of a network feeds the other.

    Args:
        model: A functional model.
        belongs: Whether an operation is in the fed part, given whether that part feeds it.

    Returns:
        Tensors that the part reads and does not make, in the order of the network.
    """
    made: set[int] = set()
    read: dict[int, keras.KerasTensor] = {}
    for operation in model.operations:
        inputs = _inputs(operation)
        if belongs(operation, any(id(tensor) in made for tensor in inputs)):
            made.update(id(tensor) for tensor in _outputs(operation))
            read.update((id(tensor), tensor) for tensor in inputs)
    return [tensor for key, tensor in read.items() if key not in made]


def _block_names(operations: list[Any], rule: Grouping) -> list[str]:
    told = _told_blocks(operations, rule)
    if rule.silent == "reader":
        return _filled_from_readers(operations, told)
    if rule.silent == "next":
        return _filled(told[::-1])[::-1]
    return _filled(told)


def _told_blocks(operations: list[Any], rule: Grouping) -> list[str | None]:
    """Names the block of each operation whose own name tells it."""
    told: list[str | None] = []
    last = STEM
    for operation in operations:
        block = rule.block_of(operation.name)
        if block == SAME:
            block = last
        elif block == STEM and last != STEM:
            block = None
        told.append(block)
        last = block or last
    return told


def _filled(told: list[str | None]) -> list[str]:
    """Gives each gap the name before it; what comes before any name is the stem."""
    names, last = [], STEM
    for block in told:
        last = block or last
        names.append(last)
    return names


def _filled_from_readers(operations: list[Any], told: list[str | None]) -> list[str]:
    """Gives each gap the block of the first operation that reads its output."""
    readers: dict[int, str] = {}
    names: list[str] = []
    last = next((block for block in reversed(told) if block), STEM)
    for operation, block in zip(reversed(operations), reversed(told), strict=True):
        read_by = [readers[id(t)] for t in _outputs(operation) if id(t) in readers]
        names.append(block or (read_by[0] if read_by else last))
        # Going backwards, the first reader is the one written last.
        readers.update((id(tensor), names[-1]) for tensor in _inputs(operation))
    return names[::-1]


def _without_bare_input(grouped: dict[str, list[keras.Layer]]) -> dict[str, list[keras.Layer]]:
    """Joins a stem that holds the input alone with the block after it."""
    first, second = list(grouped)[:2]
    if len(grouped[first]) > 1:
        return grouped
    return {second: grouped[first] + grouped[second]} | {
        name: layers for name, layers in grouped.items() if name not in (first, second)
    }


def _inputs(operation: Any) -> list[Any]:
    if isinstance(operation, keras.layers.InputLayer):
        return []
    found: list[Any] = keras.tree.flatten(operation.input)
    return found


def _outputs(operation: Any) -> list[Any]:
    found: list[Any] = keras.tree.flatten(operation.output)
    return found
