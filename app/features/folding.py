"""A frozen part of a network as one folded graph: constants in place of variables.

In inference BatchNorm only scales and shifts each channel. So does what else may follow a
convolution, its own bias for one. All of this goes into the convolution, whose kernel and
bias take it up (Jacob et al. 2017, arXiv 1712.05877, section 3.2), as does a layer of zeros
before it. TensorFlow then makes convolution, bias, ReLU or ReLU6, and the sum with a
shortcut one operation on the CPU. What it folds by itself is less: no depthwise
convolution, and no bias that is written as a sum, as Keras writes that of BatchNorm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from app.features.graphs import Graph, function_of, graph_of

Folded = Callable[..., list[tf.Tensor]]

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
_SUMS = ("Add", "AddV2", "BiasAdd")
# What has fewer elements may be a shape or an axis, which XLA has to know beforehand.
_WEIGHTS = 1024


@dataclass(frozen=True)
class _Convolution:
    """A convolution with what has been folded into it.

    Its kernel is float64 `[h, w, inputs, outputs]`, or `[h, w, channels, copies]` if it works
    on each channel by itself; its bias `[channels]`.
    """

    node: Any
    kernel: np.ndarray
    bias: np.ndarray | None = None

    @property
    def channels(self) -> int:
        """How many it gives."""
        return int(np.prod(self._outputs))

    @property
    def _outputs(self) -> tuple[int, ...]:
        return self.kernel.shape[3:] if self.node.op == "Conv2D" else self.kernel.shape[2:]

    def then(self, op: str, values: np.ndarray) -> _Convolution:
        """Takes up an operation with a constant for all channels or for each."""
        each = np.broadcast_to(values.astype(np.float64).ravel(), self.channels)
        if op in _SUMS:
            return replace(self, bias=each if self.bias is None else self.bias + each)
        kernel = self.kernel * each.reshape(self._outputs)
        return replace(self, kernel=kernel, bias=None if self.bias is None else self.bias * each)


def fold(function: Any, compiled: bool = False) -> Folded:
    """Freezes a function and folds what is constant in it.

    On a CPU, call what comes back from Python, in as many threads as it should have: in the
    functions that `tf.data` maps, TensorFlow joins no operations, which takes nearly twice
    the time.

    Args:
        function: A `ConcreteFunction` of an inference, without dropout.
        compiled: Whether XLA compiles the graph, for a GPU; on a CPU it is many times
            slower. The weights are arguments then, since XLA is slow to compile constants.

    Returns:
        Tensors in, in the order of the function's inputs; a list of tensors out, equal to
        those of the function but for rounding.
    """
    graph = _with_convolutions_folded(_with_groups_written_out(graph_of(function)))
    weights = [name for name, v in graph.constants.items() if compiled and v.size >= _WEIGHTS]
    call = function_of(graph, weights)
    held = [tf.constant(graph.constants[name]) for name in weights]

    def folded(*tensors: tf.Tensor) -> list[tf.Tensor]:
        return list(call(*tensors, *held))

    return tf.function(folded, jit_compile=True, autograph=False) if compiled else folded


def _with_groups_written_out(graph: Graph) -> Graph:
    """Puts an operation of TensorFlow's for each convolution that Keras has XLA compile.

    Those are the ones in groups, which in ConvNeXt are one channel each: measured at 7 x 7 on
    96 channels, XLA takes 35 times as long on a CPU.
    """
    bodies = {body.signature.name: body for body in graph.rest.library.function}
    written = {
        f"^{name}"
        for name, node in graph.nodes.items()
        if node.op.endswith("PartitionedCall")
        and _write_out(node, bodies[node.attr["f"].func.name], graph)
    }
    for node in graph.nodes.values():
        # TensorFlow has calls wait for one another; what is written out has no side effects.
        node.input[:] = [source for source in node.input if source not in written]
    return graph


def _write_out(node: Any, body: Any, graph: Graph) -> bool:
    """Turns a call into the convolution inside, if that works on each channel by itself."""
    inside = [each for each in body.node_def if each.op not in ("Identity", "NoOp")]
    sources = [source for source in node.input if source[0] != "^"]
    if [(each.op, each.attr["data_format"].s) for each in inside] != [("Conv2D", b"NHWC")]:
        return False
    takes = dict(zip((arg.name for arg in body.signature.input_arg), sources, strict=True))
    pixels = takes.pop(inside[0].input[0], "")
    kernels = [graph.constants[source] for source in takes.values() if source in graph.constants]
    channels = graph.shapes.get(pixels, (None,))[-1]
    if [kernel.shape[2] for kernel in kernels] != [1] or channels is None:
        return False
    node.op = "DepthwiseConv2dNative"
    node.input[:] = [pixels, f"{node.name}/kernel_by_channel"]
    graph.constants[node.input[1]] = kernels[0].reshape((*kernels[0].shape[:2], channels, -1))
    node.attr.clear()
    for name in ("T", "strides", "dilations", "padding", "explicit_paddings", "data_format"):
        node.attr[name].CopyFrom(inside[0].attr[name])
    return True


def _with_convolutions_folded(graph: Graph) -> Graph:
    """Folds into each convolution what scales, shifts and pads around it."""
    uses = Counter(_name(i) for node in graph.nodes.values() for i in node.input)
    uses += Counter(_name(output) for output in graph.outputs)
    folded: dict[str, _Convolution] = {}
    merged: dict[str, str] = {}
    for name, node in graph.nodes.items():
        node.input[:] = [merged.get(source, source) for source in node.input]
        if _is_convolution(node, graph):
            _take_up_zeros(node, graph, uses)
            folded[name] = _Convolution(node, graph.constants[node.input[1]].astype(np.float64))
        elif pair := _with_constant(node, graph, folded):
            source, constant = pair
            if uses[source] == 1:
                folded[source] = folded[source].then(node.op, constant)
                merged[name] = source
                uses[source] = uses[name]
    return _rewritten(graph, folded, merged)


def _name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _is_convolution(node: Any, graph: Graph) -> bool:
    return (
        node.op in _CONVOLUTIONS
        and node.attr["data_format"].s == b"NHWC"
        and node.input[1] in graph.constants
    )


def _with_constant(
    node: Any, graph: Graph, folded: dict[str, _Convolution]
) -> tuple[str, np.ndarray] | None:
    """Returns the convolution that a node scales or shifts, and by how much, if it does."""
    if node.op not in (*_SUMS, "Mul") or len(node.input) != 2:
        return None
    source, other = node.input if node.input[0] in folded else reversed(node.input)
    constant = graph.constants.get(other)
    if source not in folded or constant is None:
        return None
    each = constant.shape[-1:] == (constant.size,) == (folded[source].channels,)
    return (source, constant) if constant.ndim <= 4 and (each or constant.size == 1) else None


def _take_up_zeros(node: Any, graph: Graph, uses: Counter[str]) -> None:
    """Lets a convolution pad by itself, which spares a copy of its input."""
    pad = graph.nodes.get(node.input[0])
    if pad is None or pad.op != "Pad" or uses[pad.name] > 1 or node.attr["padding"].s != b"VALID":
        return
    widths = graph.constants.get(pad.input[1], np.ones((4, 2)))
    if widths[[0, 3]].any():
        return
    if widths.tolist() == _same(node, graph, pad.input[0]):
        node.attr["padding"].s = b"SAME"
    elif node.op == "Conv2D":
        node.attr["padding"].s = b"EXPLICIT"
        node.attr["explicit_paddings"].list.i[:] = widths.ravel().tolist()
    else:  # TensorFlow 2.21 loses explicit widths when it joins a depthwise convolution
        return
    node.input[0] = pad.input[0]


def _same(node: Any, graph: Graph, source: str) -> list[list[int]] | None:
    """Returns the zeros that `SAME` would put around the input, if its size is known."""
    shape = graph.shapes.get(source, ())
    if len(shape) != 4:
        return None
    widths = [[0, 0], [0, 0], [0, 0], [0, 0]]
    for axis in (1, 2):
        size, stride = shape[axis], node.attr["strides"].list.i[axis]
        if size is None:
            return None
        reach = graph.constants[node.input[1]].shape[axis - 1] - 1
        reach *= node.attr["dilations"].list.i[axis]
        total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
        widths[axis] = [total // 2, total - total // 2]
    return widths


def _rewritten(graph: Graph, folded: dict[str, _Convolution], merged: dict[str, str]) -> Graph:
    """Gives the convolutions their new kernels, and those that have one a bias to follow."""
    biased = {name: f"{name}/biased" for name, new in folded.items() if new.bias is not None}
    final = {name: biased.get(new, new) for name, new in (merged | biased).items()}
    nodes, constants = {}, dict(graph.constants)
    for name, node in graph.nodes.items():
        if name in merged:
            continue
        nodes[name] = node
        node.input[:] = [final.get(source, source) for source in node.input]
        if name in folded:
            dtype = constants[node.input[1]].dtype
            node.input[1] = f"{name}/folded_kernel"
            constants[node.input[1]] = folded[name].kernel.astype(dtype)
        if name in biased:
            nodes[biased[name]] = _bias_add(node, biased[name])
            constants[nodes[biased[name]].input[1]] = np.asarray(folded[name].bias, dtype)
    used = {source for node in nodes.values() for source in node.input}
    return replace(
        graph,
        nodes=nodes,
        constants={name: value for name, value in constants.items() if name in used},
        outputs=[f"{final[_name(o)]}:0" if _name(o) in final else o for o in graph.outputs],
    )


def _bias_add(convolution: Any, name: str) -> Any:
    node = tf.compat.v1.NodeDef(name=name, op="BiasAdd")
    node.input[:] = [convolution.name, f"{name}/bias"]
    node.attr["T"].CopyFrom(convolution.attr["T"])
    node.attr["data_format"].CopyFrom(convolution.attr["data_format"])
    return node
