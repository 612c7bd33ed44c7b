"""What the signatures of a SavedModel take and give, read from its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

# What a `tf.train.Example` holds an encoded image under.
EXAMPLE_KEY = "image_bytes"
# The class that is explained, if none is asked for.
LIKELIEST = -1
_INTERNAL = "__saved_model_init_op"


def signatures_of(folder: Path) -> dict[str, Any]:
    """Lists the signatures of a SavedModel: inputs and outputs, each with type and shape.

    Unknown dimensions are -1, and an unknown shape is None, as TensorFlow Serving says it.
    """
    saved = SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    found = saved.meta_graphs[0].signature_def
    return {
        name: {
            "inputs": {key: _tensor(of) for key, of in sorted(signature.inputs.items())},
            "outputs": {key: _tensor(of) for key, of in sorted(signature.outputs.items())},
        }
        for name, signature in sorted(found.items())
        if name != _INTERNAL
    }


def _tensor(info: Any) -> dict[str, Any]:
    shape = info.tensor_shape
    return {
        "type": tf.dtypes.as_dtype(info.dtype).name,
        "shape": None if shape.unknown_rank else [int(each.size) for each in shape.dim],
    }
