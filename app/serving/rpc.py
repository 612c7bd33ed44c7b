"""The gRPC API of TensorFlow Serving: `PredictionService` and `ModelService`.

Source: github.com/tensorflow/serving, tensorflow_serving/apis/*.proto.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from app.serving.answering import Answering, image_of
from app.serving.catalogue import Served
from app.serving.classifying import check_classify
from app.serving.codec import DEFAULT_SIGNATURE
from app.serving.errors import BadRequestError, NotOfferedError, ServingError
from app.serving.limits import Limits
from app.serving.metrics import Metrics
from app.serving.wire import to_arrays, to_signature, to_tensors

_METADATA = "signature_def"
_log = logging.getLogger("graft")
Context = Any


@dataclass
class Rpc:
    """Answers over gRPC.

    Attributes:
        answering: What is behind it.
        metrics: Are told of each request.
    """

    answering: Answering
    metrics: Metrics

    def server(self, limits: Limits) -> Any:
        """Returns a server that has no port yet."""
        options = [
            ("grpc.max_receive_message_length", limits.message),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # two servers on one port would share its requests
        ]
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=limits.calls)
        # Not by the functions of the stubs: those leave bytes that are no message to gRPC.
        for service, methods in _methods(self).items():
            name = f"tensorflow.serving.{service}"
            handler = grpc.method_handlers_generic_handler(name, methods)
            server.add_generic_rpc_handlers((handler,))
        return server

    async def answer(
        self,
        method: str,
        work: Callable[[Any, float], Awaitable[Any]],
        request: Any,
        context: Context,
    ) -> Any:
        """Does what is asked, turns what goes wrong into a status, and counts it."""
        began, status = time.monotonic(), "CANCELLED"
        gate, size = self.answering.gate, 0
        try:
            if request is None:
                raise BadRequestError(f"the bytes are no message of {method}")
            gate.hold(request.ByteSize())
            size = request.ByteSize()
            found = await work(request, self.answering.deadline(context.time_remaining()))
            status = "OK"
            return found
        except ServingError as error:
            status = error.code
            await context.abort(grpc.StatusCode[error.code], str(error))
        except Exception:
            status = "INTERNAL"
            _log.exception("%s could not be answered", method)
            await context.abort(grpc.StatusCode.INTERNAL, "the server made a mistake")
        finally:
            gate.release(size)
            name = request.model_spec.name if hasattr(request, "model_spec") else None
            self.metrics.answered("grpc", method, name, status, time.monotonic() - began)

    def find(self, spec: Any) -> Served:
        """Finds the version that a request names.

        Raises:
            BadRequestError: If it names none as versions are named here.
            NotHereError: If that is not served.
        """
        return self.answering.catalogue.find(_name(spec), _number(spec))

    async def predict(self, request: Any, deadline: float) -> Any:
        """Answers `Predict`."""
        served = self.find(request.model_spec)
        signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
        inputs = to_arrays(request.inputs, signature, served.signatures)
        found = await self.answering.predict(served, signature, inputs, deadline)
        outputs = to_tensors(found, list(request.output_filter))
        response = predict_pb2.PredictResponse(outputs=outputs)
        _sign(response.model_spec, served, signature)
        return response

    async def classify(self, request: Any, deadline: float) -> Any:
        """Answers `Classify`."""
        served = self.find(request.model_spec)
        check_classify(request.model_spec.signature_name)
        files = _files(request.input)
        if not files:
            raise BadRequestError("input holds no examples: give at least one")
        said = await self.answering.classify(served, files, deadline)
        response = classification_pb2.ClassificationResponse()
        for names, scores in zip(said["classes"], said["probabilities"], strict=True):
            row = response.result.classifications.add()
            for name, score in zip(names, scores.tolist(), strict=True):
                row.classes.add(label=name, score=score)
        _sign(response.model_spec, served, request.model_spec.signature_name or "classify")
        return response

    async def metadata(self, request: Any, deadline: float) -> Any:
        """Answers `GetModelMetadata`."""
        served = self.find(request.model_spec)
        wanted = set(request.metadata_field)
        if wanted != {_METADATA}:
            raise BadRequestError(f"metadata_field must be {_METADATA}")
        known = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in served.signatures.items():
            known.signature_def[name].CopyFrom(to_signature(signature))
        packed = Packed()
        packed.Pack(known)
        response = get_model_metadata_pb2.GetModelMetadataResponse(metadata={_METADATA: packed})
        _sign(response.model_spec, served, "")
        return response

    async def status(self, request: Any, deadline: float) -> Any:
        """Answers `GetModelStatus`."""
        spec = request.model_spec
        states = self.answering.catalogue.states(_name(spec), _number(spec))
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, state in sorted(states.items(), reverse=True):
            row = response.model_version_status.add(version=version, state=state.name)
            row.status.error_code = 9 if state.problem else 0  # FAILED_PRECONDITION, OK
            row.status.error_message = state.problem
        return response


def _name(spec: Any) -> str:
    if not spec.name:
        raise BadRequestError("model_spec.name is missing")
    return str(spec.name)


def _number(spec: Any) -> int | None:
    if spec.version_label:
        raise BadRequestError("model_spec.version_label: versions have no labels, but numbers")
    return int(spec.version.value) if spec.HasField("version") else None


def _files(given: Any) -> list[bytes]:
    """Lists the images of the examples of a request; some may have that of their context."""
    listed, shared = given.example_list.examples, b""
    if given.WhichOneof("kind") == "example_list_with_context":
        listed = given.example_list_with_context.examples
        shared = image_of(given.example_list_with_context.context, "input.context")
    examples = enumerate(listed)
    return [image_of(each, f"input.examples[{number}]", shared) for number, each in examples]


def _sign(spec: Any, served: Served, signature: str) -> None:
    spec.name, spec.signature_name = served.model, signature
    spec.version.value = served.number


async def _not_offered(why: str, request: Any, deadline: float) -> Any:
    raise NotOfferedError(why)


def _methods(rpc: Rpc) -> dict[str, dict[str, Any]]:
    """Returns the methods of each service, by the names that the protocol gives them."""
    none = partial(_not_offered, "this server answers Predict, Classify and GetModelMetadata")
    fixed = "this server takes its models from where it was started with, not from requests"
    status, metadata = get_model_status_pb2, get_model_metadata_pb2
    return {
        "PredictionService": {
            "Predict": _handler(rpc, "predict", rpc.predict, predict_pb2.PredictRequest),
            "Classify": _handler(
                rpc, "classify", rpc.classify, classification_pb2.ClassificationRequest
            ),
            "GetModelMetadata": _handler(
                rpc, "metadata", rpc.metadata, metadata.GetModelMetadataRequest
            ),
            "Regress": _handler(rpc, "other", none, regression_pb2.RegressionRequest),
            "MultiInference": _handler(rpc, "other", none, inference_pb2.MultiInferenceRequest),
        },
        "ModelService": {
            "GetModelStatus": _handler(rpc, "status", rpc.status, status.GetModelStatusRequest),
            "HandleReloadConfigRequest": _handler(
                rpc,
                "reload",
                partial(_not_offered, fixed),
                model_management_pb2.ReloadConfigRequest,
            ),
        },
    }


def _handler(rpc: Rpc, method: str, work: Callable[[Any, float], Awaitable[Any]], kind: Any) -> Any:
    """Returns what answers a method; bytes that are no message of its kind become None."""

    def read(contents: bytes) -> Any:
        try:
            return kind.FromString(contents)
        except DecodeError:
            return None

    return grpc.unary_unary_rpc_method_handler(
        partial(rpc.answer, method, work),
        request_deserializer=read,
        response_serializer=lambda response: response.SerializeToString(),
    )
