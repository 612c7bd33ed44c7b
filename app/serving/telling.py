"""What is told of models and their answers, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict

from app.exports.loaded import Arrays
from app.serving.catalogue import Model, Served, State
from app.serving.wire import to_signature


def status_to_json(versions: Mapping[int, State]) -> dict[str, Any]:
    """Answers what state each version is in, the newest first."""
    return {
        "model_version_status": [
            {
                "version": str(version),
                "state": state.name,
                "status": {
                    "error_code": "FAILED_PRECONDITION" if state.problem else "OK",
                    "error_message": state.problem,
                },
            }
            for version, state in sorted(versions.items(), reverse=True)
        ]
    }


def metadata_to_json(served: Served) -> dict[str, Any]:
    """Answers what signatures a version has, as TensorFlow Serving writes it."""
    signatures = {
        name: MessageToDict(
            to_signature(signature),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        for name, signature in served.signatures.items()
    }
    return {
        "model_spec": {
            "name": served.model,
            "signature_name": "",
            "version": str(served.number),
        },
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def model_to_json(model: Model) -> dict[str, Any]:
    """Answers what the page shows of a model."""
    newest = model.newest
    about: dict[str, Any] = {"name": model.name, "class_names": [], "versions": []}
    if newest is not None:
        tested = newest.card["metrics"]["test"]
        about |= {
            "versions": [str(number) for number in sorted(model.versions, reverse=True)],
            "class_names": list(newest.network.class_names),
            "image_size": newest.network.size,
            "accuracy": {**tested["accuracy"], "count": tested["count"]},
            "many_labels": newest.card["many_labels"],
            "explains": "explain" in newest.signatures,
        }
    return about


def answer_to_json(served: Served, said: Arrays) -> dict[str, Any]:
    """Answers one image plainly: all classes, the likeliest first."""
    shares, names = said["probabilities"][0], said["classes"][0]
    order = np.argsort(-shares, kind="stable")
    return {
        "model": served.model,
        "version": str(served.number),
        "label": said["label"][0].decode(),
        "many_labels": bool(served.card["many_labels"]),
        **({"unsure": bool(said["unsure"][0])} if "unsure" in said else {}),
        "classes": [{"name": names[at].decode(), "probability": float(shares[at])} for at in order],
    }
