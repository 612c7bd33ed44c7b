"""A function as a graph that can be rewritten: its operations, and constants for its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    _FunctionConverterDataInEager,
    _replace_variables_by_constants,
)


@dataclass(frozen=True)
class Graph:
    """Operations by name, from input to output, and the constants that they take.

    `shapes` holds what is known of what each gives first, None for a free axis; `rest` what
    remains of the `GraphDef`: its functions and its version.
    """

    nodes: dict[str, Any]
    constants: dict[str, np.ndarray]
    inputs: list[str]
    outputs: list[str]
    specs: list[tf.TensorSpec]
    shapes: dict[str, tuple[int | None, ...]]
    rest: Any


def graph_of(function: Any) -> Graph:
    """Freezes a `ConcreteFunction`, and works out all that does not depend on its inputs."""
    graph, definition = _frozen(function)
    ends = {tensor.op.name for tensor in function.outputs}
    known: set[str] = set()
    edge: dict[str, tf.Tensor] = {}
    for op in graph.get_operations():
        if op.name not in ends and _follows_from(op, known):
            known.add(op.name)
        else:
            edge |= {t.op.name: t for t in op.inputs if t.op.name in known}
    nodes = {node.name: node for node in definition.node if node.name not in known}
    for node in nodes.values():
        # Some wait for what is known now.
        node.input[:] = [i for i in node.input if i[0] != "^" or i[1:] not in known]
    held = {id(tensor) for tensor in function.graph.internal_captures}
    inputs = [tensor for tensor in function.inputs if id(tensor) not in held]
    return Graph(
        nodes,
        _values_of(graph, edge),
        [tensor.op.name for tensor in inputs],
        [tensor.name for tensor in function.outputs],
        [tf.TensorSpec.from_tensor(tensor) for tensor in inputs],
        # Freezing forgets what the functions that are called give.
        _shapes_of(graph) | _shapes_of(function.graph),
        tf.compat.v1.GraphDef(library=definition.library, versions=definition.versions),
    )


def _frozen(function: Any) -> tuple[Any, Any]:
    """Puts constants in place of variables.

    The public `convert_variables_to_constants_v2` goes on to make a function of the result,
    which is taken apart here again: that would be a third of the time.
    """
    # Lowered control flow is for TensorFlow Lite.
    data = _FunctionConverterDataInEager(
        func=function, lower_control_flow=False, aggressive_inlining=False
    )
    definition, _ = _replace_variables_by_constants(converter_data=data)
    for node in definition.node:  # some are to be beside others that are no more
        node.attr.pop("_class", None)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(definition, name="")
    return graph, graph.as_graph_def()


def _shapes_of(graph: Any) -> dict[str, tuple[int | None, ...]]:
    given = {op.name: op.outputs[0].shape for op in graph.get_operations() if op.outputs}
    return {name: tuple(shape) for name, shape in given.items() if shape.rank is not None}


def _values_of(graph: Any, tensors: dict[str, tf.Tensor]) -> dict[str, np.ndarray]:
    """Runs the part of a graph that gives some tensors, once, so without optimising it."""
    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.compat.v1.Session(graph=graph, config=config) as session:
        values: dict[str, np.ndarray] = session.run(tensors)
    return values


def _follows_from(op: Any, known: set[str]) -> bool:
    if op.type == "Const":
        return True
    if not op.inputs or len(op.outputs) != 1 or op.op_def.is_stateful:
        return False
    return all(tensor.op.name in known for tensor in op.inputs)


def function_of(graph: Graph, weights: list[str]) -> Any:
    """Makes a function of the graph's inputs, followed by the constants named."""
    names = [*graph.inputs, *weights]
    definition = tf.compat.v1.GraphDef()
    definition.CopyFrom(graph.rest)
    definition.node.extend(graph.nodes[name] for name in graph.nodes if name not in names)
    constants = graph.constants.items()
    definition.node.extend(_constant(name, v) for name, v in constants if name not in names)

    def imported(*tensors: tf.Tensor) -> list[tf.Tensor]:
        inputs = dict(zip(names, tensors, strict=True))
        return list(tf.graph_util.import_graph_def(definition, inputs, graph.outputs, name=""))

    held = (graph.constants[name] for name in weights)
    specs = [*graph.specs, *(tf.TensorSpec(v.shape, v.dtype) for v in held)]
    return tf.function(imported, autograph=False).get_concrete_function(*specs)


def _constant(name: str, value: np.ndarray) -> Any:
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    proto = tf.make_tensor_proto(value)  # knows strings, too, which come as bare bytes
    node.attr["dtype"].type = proto.dtype
    node.attr["value"].tensor.CopyFrom(proto)
    return node
