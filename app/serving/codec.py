"""The JSON of TensorFlow Serving's REST API, to arrays and back.

Source: tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.exports.loaded import Arrays
from app.serving.errors import BadRequestError, TooLargeError, shown

# As objects of Python, numbers take several times the memory that they do as text.
MOST_VALUES = 4_000_000
DEFAULT_SIGNATURE = "serving_default"
Signature = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """A request for predictions.

    Attributes:
        signature: Its name.
        inputs: By name, the batch first.
        by_row: Whether it came as `instances`, and is answered with `predictions`.
    """

    signature: str
    inputs: Arrays
    by_row: bool


def parse_body(body: bytes) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        BadRequestError: If it is none.
        TooLargeError: If it would take much more memory than its bytes do.
    """
    if body.count(b",") + body.count(b"[") > MOST_VALUES:
        raise TooLargeError(f"the body holds more than {MOST_VALUES} values: send images as base64")
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRequestError("the body must be a JSON object")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def parse_predict(body: bytes, signatures: Mapping[str, Signature]) -> Asked:
    """Reads the body of `:predict`.

    Args:
        body: JSON with `instances` (a row each) or `inputs` (a column each), and perhaps
            `signature_name`.
        signatures: Of the model: inputs with their types and shapes, as a card has them.

    Raises:
        BadRequestError: If it makes no sense; names the field.
    """
    asked = parse_body(body)
    name = asked.get("signature_name")
    name = DEFAULT_SIGNATURE if name in (None, "") else name
    wanted = inputs_of(name, signatures)
    if ("instances" in asked) == ("inputs" in asked):
        raise BadRequestError("give either instances, a row each, or inputs, a column each")
    if "instances" in asked:
        columns = _columns(asked["instances"], wanted)
    else:
        columns = _named(asked["inputs"], wanted)
    inputs = {key: to_array(values, wanted[key], key) for key, values in columns.items()}
    check_rows(inputs)
    return Asked(name, inputs, "instances" in asked)


def check_rows(inputs: Arrays) -> int:
    """Counts the rows of a request; a scalar is one.

    Raises:
        BadRequestError: If there are none, or inputs differ in them.
    """
    counts = {name: len(array) if array.ndim else 1 for name, array in inputs.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise BadRequestError(f"inputs differ in their number of rows: {said}")
    (count,) = set(counts.values())
    if not count:
        raise BadRequestError(f"{next(iter(inputs))} has no rows: give at least one")
    return count


def inputs_of(name: Any, signatures: Mapping[str, Signature]) -> Mapping[str, Any]:
    """Returns the inputs of a signature.

    Raises:
        BadRequestError: If there is no such signature.
    """
    if not isinstance(name, str) or name not in signatures:
        known = ", ".join(signatures)
        raise BadRequestError(f"signature_name is {shown(name)}: this model has {known}")
    found: Mapping[str, Any] = signatures[name]["inputs"]
    return found


def _columns(rows: Any, wanted: Mapping[str, Any]) -> dict[str, list[Any]]:
    if not isinstance(rows, list) or not rows:
        raise BadRequestError("instances must be a list of at least one")
    columns: dict[str, list[Any]] = {key: [] for key in wanted}
    for number, row in enumerate(rows):
        for key, value in _named(row, wanted, f"instances[{number}]").items():
            columns[key].append(value)
    return columns


def _named(value: Any, wanted: Mapping[str, Any], where: str = "inputs") -> dict[str, Any]:
    """Returns values by the names of inputs, of which a single one need not be named."""
    named = isinstance(value, dict) and set(value) != {"b64"}
    if not named and len(wanted) == 1:
        return {next(iter(wanted)): value}
    if not named or set(value) != set(wanted):
        raise BadRequestError(f"{where} must name exactly {', '.join(wanted)}")
    return dict(value)


def to_array(values: Any, spec: Mapping[str, Any], name: str) -> NDArray[Any]:
    """Makes an array of nested lists.

    Raises:
        BadRequestError: If they do not fit the type and shape of the input.
    """
    array = _strings(values, name) if spec["type"] == "string" else _numbers(values, spec, name)
    check_shape(array.shape, spec, name)
    return array


def check_shape(sizes: Sequence[int], spec: Mapping[str, Any], name: str) -> None:
    """Makes sure that an array has the shape that an input wants.

    Raises:
        BadRequestError: If it has not.
    """
    shape = spec["shape"]
    if shape is None:
        return
    pairs = zip(shape, sizes, strict=False)
    if len(shape) != len(sizes) or any(want not in (-1, have) for want, have in pairs):
        wanted = ", ".join("any" if each < 0 else str(each) for each in shape)
        found = ", ".join(map(str, sizes))
        raise BadRequestError(f"{name} has the shape [{found}], and [{wanted}] is wanted")


def _strings(values: Any, name: str) -> NDArray[Any]:
    """Reads a list of texts or of `{"b64": ...}`, or a single one."""
    if not isinstance(values, list):
        return np.array(to_bytes(values, name), object)
    array = np.empty(len(values), object)
    array[:] = [to_bytes(each, f"{name}[{number}]") for number, each in enumerate(values)]
    return array


def to_bytes(value: Any, where: str) -> bytes:
    """Reads a text, or `{"b64": ...}`.

    Raises:
        BadRequestError: If it is neither.
    """
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:  # half of a pair of surrogates
            raise BadRequestError(f"{where} is no text of Unicode: {error.reason}") from error
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        # As TensorFlow Serving takes it: with white space, and without padding.
        text = "".join(value["b64"].split())
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadRequestError(f"{where} is no base64: {error}") from error
    raise BadRequestError(f'{where} must be {{"b64": "..."}}, or a text')


def _numbers(values: Any, spec: Mapping[str, Any], name: str) -> NDArray[Any]:
    try:
        # NumPy takes texts as numbers, too, or makes room for the longest of them.
        if not _are_numbers(values):
            raise BadRequestError(f"{name} must hold numbers")
        array = np.array(values, np.float64)
    except OverflowError as error:
        raise BadRequestError(f"{name} must hold numbers that are not as large") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRequestError(f"{name} is no regular array: its rows differ in length") from error
    wanted = np.dtype(spec["type"])
    if wanted.kind in "iu" and array.size:
        _check_whole(array, np.iinfo(wanted), name)
    return array.astype(wanted)


def _are_numbers(values: Any) -> bool:
    if not isinstance(values, list):
        return type(values) in (int, float)
    if values and isinstance(values[0], list):
        return all(isinstance(row, list) and _are_numbers(row) for row in values)
    return set(map(type, values)) <= {int, float}


def _check_whole(array: NDArray[Any], limits: np.iinfo[Any], name: str) -> None:
    whole = bool((array == np.floor(array)).all())
    if not (whole and array.min() >= limits.min and array.max() <= limits.max):
        raise BadRequestError(f"{name} must hold whole numbers from {limits.min} to {limits.max}")


def to_json(outputs: Arrays, by_row: bool) -> dict[str, Any]:
    """Answers as the request came: `predictions`, a row each, or `outputs`, a column each.

    A single output is not named. Texts are UTF-8, except those of outputs whose names end in
    `_bytes`, which are base64.
    """
    columns = {name: _plain(array, name.endswith("_bytes")) for name, array in outputs.items()}
    if not by_row:
        return {"outputs": next(iter(columns.values())) if len(columns) == 1 else columns}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {"predictions": rows}


def _plain(array: NDArray[Any], as_bytes: bool) -> Any:
    if array.dtype.kind not in "OSU":
        return array.tolist()
    return _texts(array.tolist(), as_bytes)


def _texts(value: Any, as_bytes: bool) -> Any:
    if isinstance(value, list):
        return [_texts(each, as_bytes) for each in value]
    contents = value if isinstance(value, bytes) else str(value).encode()
    if as_bytes:
        return {"b64": base64.b64encode(contents).decode()}
    return contents.decode(errors="replace")
