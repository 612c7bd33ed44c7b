"""The JSON of TensorFlow Serving, to arrays and back."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.serving import classifying, codec, telling
from app.serving.catalogue import END, State
from app.serving.errors import BadRequestError, TooLargeError

SIGNATURES: dict[str, Any] = {
    "serving_default": {"inputs": {"image_bytes": {"type": "string", "shape": [-1]}}},
    "pixels": {"inputs": {"pixels": {"type": "uint8", "shape": [-1, -1, -1, 3]}}},
    "two": {
        "inputs": {
            "image_bytes": {"type": "string", "shape": [-1]},
            "class_index": {"type": "int32", "shape": [-1]},
        }
    },
    "read": {"inputs": {"image_bytes": {"type": "string", "shape": []}}},
    "free": {"inputs": {"x": {"type": "float32", "shape": None}}},
}
# What JSON can hold, and what looks a little like requests.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["b64", "image_bytes", "pixels", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def parse(asked: Any) -> codec.Asked:
    return codec.parse_predict(json.dumps(asked).encode(), SIGNATURES)


def b64(contents: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(contents).decode()}


@pytest.mark.parametrize(
    "asked",
    [
        {"instances": [b64(b"\xff"), b64(b"a")]},
        {"instances": [{"image_bytes": b64(b"\xff")}, {"image_bytes": "a"}]},
        {"inputs": [b64(b"\xff"), "a"]},
        {"inputs": {"image_bytes": [b64(b"\xff"), b64(b"a")]}, "signature_name": ""},
    ],
)
def test_files_can_be_written_in_four_ways(asked: Any) -> None:
    found = parse(asked)
    assert found.signature == "serving_default"
    assert found.inputs["image_bytes"].tolist() == [b"\xff", b"a"]
    assert found.by_row == ("instances" in asked)


def test_several_inputs_come_by_name() -> None:
    rows = [{"image_bytes": "a", "class_index": 1}, {"image_bytes": "b", "class_index": -1}]
    for asked in (
        {"instances": rows},
        {"inputs": {"image_bytes": ["a", "b"], "class_index": [1, -1]}},
    ):
        found = parse({"signature_name": "two", **asked}).inputs
        assert found["image_bytes"].tolist() == [b"a", b"b"]
        assert found["class_index"].tolist() == [1, -1]
        assert found["class_index"].dtype == np.int32


def test_a_scalar_input_is_no_list() -> None:
    found = parse({"signature_name": "read", "inputs": b64(b"x")}).inputs["image_bytes"]
    assert (found.shape, found.item()) == ((), b"x")


def test_an_unknown_shape_takes_any() -> None:
    assert parse({"signature_name": "free", "inputs": [[1, 2.5]]}).inputs["x"].shape == (1, 2)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "JSON object"),
        ({}, "either instances, a row each, or inputs"),
        ({"instances": [], "inputs": []}, "either instances"),
        ({"instances": []}, "instances must be a list of at least one"),
        ({"instances": {"b64": "aa"}}, "instances must be a list"),
        ({"inputs": []}, "image_bytes has no rows"),
        ({"instances": [{"b64": "!!!!"}]}, r"image_bytes\[0\] is no base64"),
        ({"instances": ["a", {"b64": "Y"}]}, r"image_bytes\[1\] is no base64"),
        ({"instances": [{"b64": 3}]}, r'image_bytes\[0\] must be {"b64"'),
        ({"instances": [{"other": "a"}]}, r"instances\[0\] must name exactly image_bytes"),
        ({"instances": [3]}, r"image_bytes\[0\] must be"),
        ({"instances": [["a"]]}, r"image_bytes\[0\] must be"),
        (
            {"signature_name": "nope", "instances": ["a"]},
            "signature_name is 'nope': this",
        ),
        ({"signature_name": ["read"], "instances": ["a"]}, "signature_name is"),
        ({"signature_name": "n" * 9999, "instances": ["a"]}, "'n{60}'"),
        ({"signature_name": "pixels", "instances": [[[[1, 2]]]]}, r"\[1, 1, 1, 2\], and \[any"),
        (
            {"signature_name": "pixels", "instances": [[[[256, 0, 0]]]]},
            "numbers from 0 to 255",
        ),
        ({"signature_name": "pixels", "instances": [[[[-1, 0, 0]]]]}, "whole numbers from 0"),
        ({"signature_name": "pixels", "instances": [[[[0.5, 0, 0]]]]}, "whole numbers from 0"),
        ({"signature_name": "pixels", "instances": [[[[1, 2, 3], [1]]]]}, "no regular array"),
        ({"signature_name": "pixels", "instances": [[[["1", 2, 3]]]]}, "must hold numbers"),
        ({"signature_name": "pixels", "instances": [[[[True, False, True]]]]}, "must hold numbers"),
        ({"signature_name": "pixels", "instances": [[[[10**400, 2, 3]]]]}, "must hold numbers"),
        (
            {"signature_name": "two", "inputs": {"image_bytes": ["a"], "class_index": [1, 2]}},
            "image_bytes 1, class_index 2",
        ),
        (
            {"signature_name": "two", "inputs": ["a"]},
            "inputs must name exactly image_bytes",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_name_of_its_field(asked: Any, said: str) -> None:
    with pytest.raises(BadRequestError, match=said):
        parse(asked)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b'{"instances": [NaN]}', "NaN is no number"),
        (b'{"instances": [-Infinity]}', "-Infinity is no number"),
        (b"[" * 100_000, "no JSON"),
        (b"1" * 10_000, "no JSON"),
        (b'{"instances": ' + b"[" * 500 + b"1" + b"]" * 500 + b"}", r"image_bytes\[0\]"),
    ],
)
def test_hostile_json_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(BadRequestError, match=said):
        codec.parse_predict(body, SIGNATURES)


@given(JSON, st.sampled_from([*SIGNATURES]), st.sampled_from(["instances", "inputs"]))
def test_whatever_json_comes_is_understood_or_refused(value: Any, signature: str, key: str) -> None:
    try:
        body = json.dumps({"signature_name": signature, key: value}).encode()
        found = codec.parse_predict(body, SIGNATURES)
    except BadRequestError:
        return
    assert set(found.inputs) == set(SIGNATURES[signature]["inputs"])
    assert all(each.ndim == 0 or len(each) for each in found.inputs.values())


@given(st.binary(max_size=200))
def test_any_bytes_survive_base64(contents: bytes) -> None:
    assert parse({"instances": [b64(contents)]}).inputs["image_bytes"].tolist() == [contents]


def test_json_that_would_fill_the_memory_is_refused_unread() -> None:
    body = b'{"instances": [' + b"[]," * 2_000_000 + b"[]]}"
    with pytest.raises(TooLargeError, match="send images as base64"):
        codec.parse_predict(body, SIGNATURES)


def test_examples_share_their_context() -> None:
    body = json.dumps(
        {"context": {"image_bytes": b64(b"c")}, "examples": [{}, {"image_bytes": "e"}]}
    )
    assert classifying.parse_classify(body.encode(), "image_bytes") == [b"c", b"e"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "examples must be a list of at least one"),
        ({"examples": []}, "examples must be a list of at least one"),
        ({"examples": [1]}, r"examples\[0\] must be an object"),
        ({"examples": [{}]}, r"examples\[0\] has no feature image_bytes"),
        ({"examples": [{"image_bytes": 1}]}, r"examples\[0\].image_bytes must be"),
        ({"examples": [{"image_bytes": ["a", "b"]}]}, r"examples\[0\].image_bytes must be"),
        ({"examples": [{}], "context": 1}, "examples must be"),
    ],
)
def test_examples_that_make_no_sense_are_refused(asked: Any, said: str) -> None:
    with pytest.raises(BadRequestError, match=said):
        classifying.parse_classify(json.dumps(asked).encode(), "image_bytes")


def test_answers_come_as_they_were_asked_for() -> None:
    label = np.array([b"a", "é".encode()], object)
    outputs = {"label": label, "share": np.array([0.5, 0.25], np.float32)}
    by_row = [{"label": "a", "share": 0.5}, {"label": "é", "share": 0.25}]
    assert codec.to_json(outputs, by_row=True) == {"predictions": by_row}
    columns = {"label": ["a", "é"], "share": [0.5, 0.25]}
    assert codec.to_json(outputs, by_row=False) == {"outputs": columns}
    assert codec.to_json({"label": label}, by_row=True) == {"predictions": ["a", "é"]}
    assert codec.to_json({"label": label}, by_row=False) == {"outputs": ["a", "é"]}


def test_outputs_named_bytes_are_base64() -> None:
    found = codec.to_json({"x_bytes": np.array([b"\xff"], object)}, by_row=True)
    assert found == {"predictions": [{"b64": "/w=="}]}


def test_states_are_listed_newest_first() -> None:
    found = telling.status_to_json({1: State(END, "it is bad"), 10: State("AVAILABLE")})
    assert [row["version"] for row in found["model_version_status"]] == ["10", "1"]
    assert found["model_version_status"][1]["status"]["error_message"] == "it is bad"
