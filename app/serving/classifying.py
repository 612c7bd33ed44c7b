"""The Classification API in JSON: examples in, pairs of class and score out."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from app.serving.codec import DEFAULT_SIGNATURE, parse_body, to_bytes
from app.serving.errors import BadRequestError, shown


def parse_classify(body: bytes, key: str) -> list[bytes]:
    """Reads the body of `:classify`: the bytes of each example's image.

    Args:
        body: JSON with `examples`, each an object of features, and perhaps a `context` that
            all of them share.
        key: The feature that holds the image.

    Raises:
        BadRequestError: If it makes no sense.
    """
    asked = parse_body(body)
    examples = asked.get("examples")
    context = asked.get("context", {})
    if not isinstance(examples, list) or not examples or not isinstance(context, dict):
        raise BadRequestError("examples must be a list of at least one object")
    check_classify(asked.get("signature_name"))
    # Read once, however many share it.
    shared = _feature(context[key], f"context.{key}") if key in context else None
    found = []
    for number, example in enumerate(examples):
        where = f"examples[{number}]"
        if not isinstance(example, dict):
            raise BadRequestError(f"{where} must be an object")
        own = _feature(example[key], f"{where}.{key}") if key in example else shared
        if own is None:
            raise BadRequestError(f"{where} has no feature {key}")
        found.append(own)
    return found


def _feature(value: Any, where: str) -> bytes:
    """Reads a feature, which may come as a list of one."""
    single = isinstance(value, list) and len(value) == 1
    return to_bytes(value[0] if single else value, where)


def check_classify(signature: Any) -> None:
    """Makes sure that classes can be told by a signature.

    Raises:
        BadRequestError: If they cannot.
    """
    if signature not in (None, "", DEFAULT_SIGNATURE, "classify"):
        raise BadRequestError(f"signature_name is {shown(signature)}: classes are told by classify")


def classes_to_json(classes: NDArray[Any], scores: NDArray[Any]) -> dict[str, Any]:
    """Answers `:classify`: for each example a list of pairs of class and score.

    Source of the key: `kClassifyRegressResponseKey` in json_tensor.cc of TensorFlow Serving.

    Args:
        classes: Names, `[n, classes]`.
        scores: float32 `[n, classes]`.
    """
    return {
        "results": [
            [[name.decode(), float(score)] for name, score in zip(*row, strict=True)]
            for row in zip(classes.tolist(), scores.tolist(), strict=True)
        ]
    }
