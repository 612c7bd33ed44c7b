"""Tensors of TensorFlow Serving's gRPC API, to arrays and back."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from app.exports.loaded import Arrays
from app.serving.codec import check_rows, check_shape, inputs_of
from app.serving.errors import BadRequestError

# A message can say of one value that it stands for any number of elements.
MOST_REPEATED = 1 << 16
_VALUES = ("int_val", "float_val", "int64_val", "bool_val", "double_val", "string_val")


def to_arrays(given: Mapping[str, Any], signature: str, signatures: Mapping[str, Any]) -> Arrays:
    """Reads the inputs of a request.

    Args:
        given: `TensorProto` by name.
        signature: Its name.
        signatures: Of the model.

    Raises:
        BadRequestError: If they are not those that the signature takes; names the field.
    """
    wanted = inputs_of(signature, signatures)
    if set(given) != set(wanted):
        raise BadRequestError(f"inputs must name exactly {', '.join(wanted)}")
    arrays = {name: _to_array(tensor, wanted[name], name) for name, tensor in given.items()}
    check_rows(arrays)
    return arrays


def _to_array(tensor: Any, spec: Mapping[str, Any], name: str) -> NDArray[Any]:
    if tensor.dtype != tf.dtypes.as_dtype(spec["type"]).as_datatype_enum:
        raise BadRequestError(f"{name} must be of dtype {spec['type']}")
    _check_size(tensor, spec, name)
    try:
        array: NDArray[Any] = tf.make_ndarray(tensor)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequestError(f"{name}: its values are not those of its shape") from error
    return array


def _check_size(tensor: Any, spec: Mapping[str, Any], name: str) -> None:
    """Makes sure that a tensor takes no more memory than its message did, or not much more."""
    sizes = [dimension.size for dimension in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or min(sizes, default=0) < 0:
        raise BadRequestError(f"{name}: tensor_shape must be known")
    check_shape(sizes, spec, name)
    written = len(tensor.tensor_content) + sum(len(getattr(tensor, each)) for each in _VALUES)
    if prod(sizes) > max(written, MOST_REPEATED):
        raise BadRequestError(f"{name}: tensor_shape says {prod(sizes)} elements: too many")
    if tensor.dtype == tf.string.as_datatype_enum and len(tensor.string_val) != prod(sizes):
        raise BadRequestError(
            f"{name}: tensor_shape says {prod(sizes)} texts, and string_val has"
            f" {len(tensor.string_val)}"
        )


def to_tensors(arrays: Arrays, wanted: list[str]) -> dict[str, Any]:
    """Writes outputs.

    Args:
        arrays: By name.
        wanted: Names of those that are asked for; all if there are none.

    Raises:
        BadRequestError: If there is no such output.
    """
    unknown = sorted(set(wanted) - set(arrays))
    if unknown:
        known = ", ".join(sorted(arrays))
        raise BadRequestError(f"output_filter: there is no {unknown[0][:60]!r}, but {known}")
    return {
        name: tf.make_tensor_proto(array, tf.string if array.dtype == object else None)
        for name, array in arrays.items()
        if not wanted or name in wanted
    }


def to_signature(signature: Mapping[str, Any]) -> Any:
    """Writes a signature as a `SignatureDef`."""
    into = SignatureDef(method_name="tensorflow/serving/predict")
    for side in ("inputs", "outputs"):
        tensors = getattr(into, side)
        for name, of in signature[side].items():
            tensors[name].name = name
            tensors[name].dtype = tf.dtypes.as_dtype(of["type"]).as_datatype_enum
            tensors[name].tensor_shape.CopyFrom(tf.TensorShape(_known(of["shape"])).as_proto())
    return into


def _known(shape: list[int] | None) -> list[int | None] | None:
    return None if shape is None else [None if size < 0 else size for size in shape]
