"""`graft serve`, asked over HTTP and gRPC as a client of TensorFlow Serving would."""

from __future__ import annotations

import base64
import io
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from app import Run
from app.serving.limits import Limits
from tests.serving import Server, answer_on, serving


@pytest.fixture(scope="module")
def server(exported: Path) -> Iterator[Server]:
    with serving(exported.parent) as one:
        yield one


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as one:
        yield one


@pytest.fixture
def stub(channel: grpc.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def files(finished: Run) -> list[bytes]:
    return [path.read_bytes() for path in finished.test_images()]


@pytest.fixture(scope="module")
def wanted(exported: Path, files: list[bytes]) -> dict[str, np.ndarray]:
    """What the SavedModel says of the files, asked by TensorFlow."""
    answer = tf.saved_model.load(str(exported)).signatures["serving_default"]
    return {name: each.numpy() for name, each in answer(tf.constant(files)).items()}


def b64(contents: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(contents).decode()}


def request(signature: str = "", version: int | None = None, **inputs: Any) -> Any:
    asked = predict_pb2.PredictRequest()
    asked.model_spec.name, asked.model_spec.signature_name = "tiny", signature
    if version is not None:
        asked.model_spec.version.value = version
    for name, value in inputs.items():
        asked.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return asked


def refused(call: Any, asked: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(asked, timeout=60)
    return caught.value.code().name, caught.value.details()


def test_it_says_what_it_serves_and_where(server: Server) -> None:
    lines = server.told.splitlines()
    assert lines[-3] == "tiny: version 1"
    assert lines[-2] == f"gRPC on 127.0.0.1:{server.grpc_port}"
    assert lines[-1] == f"http://127.0.0.1:{server.port}"


def test_rest_answers_rows_as_the_saved_model_does(
    server: Server, files: list[bytes], wanted: dict[str, np.ndarray]
) -> None:
    status, told = server.post("/v1/models/tiny:predict", {"instances": [*map(b64, files)]})
    assert status == 200
    rows = told["predictions"]
    assert [row["label"] for row in rows] == [label.decode() for label in wanted["label"]]
    np.testing.assert_allclose(
        [row["probabilities"] for row in rows], wanted["probabilities"], atol=1e-5
    )
    assert set(rows[0]) == set(wanted)


def test_rest_answers_columns(server: Server, files: list[bytes]) -> None:
    status, told = server.post(
        "/v1/models/tiny/versions/1:predict", {"inputs": {"image_bytes": [b64(files[0])]}}
    )
    assert status == 200
    assert len(told["outputs"]["probabilities"]) == 1


def test_grpc_answers_as_the_saved_model_does(
    stub: Any, files: list[bytes], wanted: dict[str, np.ndarray]
) -> None:
    told = stub.Predict(request(image_bytes=files), timeout=60)
    found = {name: tf.make_ndarray(each) for name, each in told.outputs.items()}
    assert found["label"].tolist() == wanted["label"].tolist()
    np.testing.assert_allclose(found["probabilities"], wanted["probabilities"], atol=1e-5)
    assert {name: (each.shape, each.dtype) for name, each in found.items()} == {
        name: (each.shape, each.dtype) for name, each in wanted.items()
    }
    assert (told.model_spec.name, told.model_spec.version.value) == ("tiny", 1)


def test_a_file_that_cannot_be_read_spoils_no_other(
    server: Server, exported: Path, files: list[bytes]
) -> None:
    asked = {"instances": [b64(files[0]), b64(b"no image"), b64(files[1][:100])]}
    rows = server.post("/v1/models/tiny:predict", asked)[1]["predictions"]
    assert [bool(row["error"]) for row in rows] == [False, True, True]
    answer = tf.saved_model.load(str(exported)).signatures["serving_default"]
    said = answer(tf.constant([b"no image"]))
    assert rows[1]["label"] == said["label"].numpy()[0].decode() == ""
    assert rows[1]["probabilities"] == said["probabilities"].numpy()[0].tolist()
    assert rows[1]["top_k_classes"] == ["", "", ""]
    assert rows[1]["error"] == said["error"].numpy()[0].decode()


def test_an_output_filter_is_kept_to(stub: Any, files: list[bytes]) -> None:
    asked = request(image_bytes=files[:1])
    asked.output_filter.append("label")
    assert set(stub.Predict(asked).outputs) == {"label"}
    asked.output_filter[0] = "nope"
    assert refused(stub.Predict, asked)[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("size", [32, 50])
def test_pixels_of_any_size_are_answered(stub: Any, size: int) -> None:
    pixels = np.full([18, size, size, 3], 130, np.uint8)
    told = stub.Predict(request("pixels", pixels=pixels), timeout=60)
    shares = tf.make_ndarray(told.outputs["probabilities"])
    assert shares.shape == (18, 3)
    np.testing.assert_allclose(shares, shares[:1].repeat(18, 0), atol=1e-6)
    assert "error" not in told.outputs


def test_the_other_signatures_are_answered(stub: Any, files: list[bytes]) -> None:
    many = (files * 3)[:20]
    features = stub.Predict(request("features", image_bytes=many), timeout=60).outputs
    assert tf.make_ndarray(features["features"]).shape[0] == 20
    read = stub.Predict(request("read", image_bytes=files[0]), timeout=60).outputs["pixels"]
    assert tf.make_ndarray(read).shape == (32, 32, 3)
    asked = request("explain", image_bytes=files[:2], class_index=np.array([-1, 0], np.int32))
    heat = tf.make_ndarray(stub.Predict(asked, timeout=60).outputs["heat"])
    assert heat.shape[0] == 2
    assert heat.ndim == 3


def test_classes_are_told_with_scores(
    server: Server, stub: Any, files: list[bytes], wanted: dict[str, np.ndarray]
) -> None:
    asked = classification_pb2.ClassificationRequest()
    asked.model_spec.name = "tiny"
    for contents in files[:2]:
        example = asked.input.example_list.examples.add()
        example.features.feature["image_bytes"].bytes_list.value.append(contents)
    rows = stub.Classify(asked, timeout=60).result.classifications
    body = {"examples": [{"image_bytes": b64(contents)} for contents in files[:2]]}
    told = server.post("/v1/models/tiny:classify", body)[1]["results"]
    for row, pairs, shares in zip(rows, told, wanted["probabilities"], strict=False):
        assert [each.label for each in row.classes] == ["2", "10", "fern leaf"]
        assert [name for name, _ in pairs] == ["2", "10", "fern leaf"]
        np.testing.assert_allclose([each.score for each in row.classes], shares, atol=1e-5)
        np.testing.assert_allclose([score for _, score in pairs], shares, atol=1e-5)
    serialised = [each.SerializeToString() for each in asked.input.example_list.examples]
    scores = stub.Predict(request("classify", inputs=serialised), timeout=60).outputs["scores"]
    np.testing.assert_allclose(tf.make_ndarray(scores), wanted["probabilities"][:2], atol=1e-5)


def test_examples_may_share_a_context(stub: Any, files: list[bytes]) -> None:
    asked = classification_pb2.ClassificationRequest()
    asked.model_spec.name = "tiny"
    listed = asked.input.example_list_with_context
    listed.context.features.feature["image_bytes"].bytes_list.value.append(files[0])
    listed.examples.add()
    listed.examples.add()
    assert len(stub.Classify(asked, timeout=60).result.classifications) == 2


def test_a_file_can_be_sent_as_it_is(
    server: Server, files: list[bytes], wanted: dict[str, np.ndarray]
) -> None:
    status, told = server.post("/classify", files[0])
    assert status == 200
    shares = [each["probability"] for each in told["classes"]]
    assert shares == sorted(shares, reverse=True)
    assert sorted(shares) == pytest.approx(sorted(wanted["probabilities"][0]), abs=1e-5)
    assert (told["model"], told["version"]) == ("tiny", "1")
    assert told["label"] == told["classes"][0]["name"] == wanted["label"][0].decode()


def test_an_image_is_explained_for_any_class(server: Server, files: list[bytes]) -> None:
    likeliest = server.post("/explain", files[0])[1]
    assert likeliest["class"] == server.post("/classify", files[0])[1]["label"]
    assert max(map(max, likeliest["heat"])) == pytest.approx(1)
    assert server.post("/explain?class=fern%20leaf", files[0])[1]["class"] == "fern leaf"
    status, told = server.post("/explain?class=oak", files[0])
    assert (status, told) == (400, {"error": "class: model tiny has no class 'oak'"})


def test_states_and_signatures_are_told(server: Server, channel: grpc.Channel, stub: Any) -> None:
    (row,) = server.get("/v1/models/tiny")[1]["model_version_status"]
    assert row == {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "tiny"
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    (said,) = models.GetModelStatus(asked, timeout=60).model_version_status
    assert (said.version, said.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    by_json = server.get("/v1/models/tiny/metadata")[1]["metadata"]["signature_def"]
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "tiny"
    packed = stub.GetModelMetadata(asked, timeout=60).metadata["signature_def"]
    known = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(known)
    assert set(known.signature_def) == set(by_json["signature_def"])
    pixels = known.signature_def["pixels"].inputs["pixels"]
    assert pixels.dtype == tf.uint8.as_datatype_enum
    assert [each.size for each in pixels.tensor_shape.dim] == [-1, -1, -1, 3]


def test_models_are_loaded_by_nobody_s_request(channel: grpc.Channel) -> None:
    asked = model_management_pb2.ReloadConfigRequest()
    one = asked.config.model_config_list.config.add()
    one.name, one.base_path = "other", "/etc"
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    code, said = refused(models.HandleReloadConfigRequest, asked)
    assert code == "UNIMPLEMENTED"
    assert "not from requests" in said


def test_what_it_does_not_do_it_says(stub: Any) -> None:
    assert refused(stub.Regress, regression_pb2.RegressionRequest())[0] == "UNIMPLEMENTED"


def test_health_readiness_and_metrics(server: Server, files: list[bytes]) -> None:
    server.post("/classify", files[0])
    assert server.get("/healthz") == server.get("/readyz") == (200, "ok\n")
    status, text = server.get("/metrics")
    assert status == 200
    pattern = r'graft_requests_total{method="classify",model="tiny",protocol="http",status="200"}'
    assert re.search(rf"^{re.escape(pattern)} [1-9]", text, re.MULTILINE)
    assert 'graft_newest_version{model="tiny"} 1.0' in text
    assert server.get("/monitoring/prometheus/metrics")[0] == 200


def test_metrics_hold_no_name_that_a_request_made_up(server: Server) -> None:
    server.post("/v1/models/madeup:predict", {})
    server.post("/v1/models/tiny:madeup", {})
    assert "madeup" not in server.get("/metrics")[1]


def test_every_path_is_documented_and_every_documented_path_is_there(server: Server) -> None:
    from app.serving.rest import Rest

    routes = [route.path for route in Rest(None, None, Limits()).app().routes]
    below, plain = "/v1/models/{", {path for path in routes if "{" not in path}
    paths = server.get("/openapi.json")[1]["paths"]
    assert {path for path in paths if not path.startswith(below)} == plain
    for path, methods in paths.items():
        asked = path.replace("{name}", "tiny").replace("{version}", "1")
        for method in methods:
            status, _ = server.get(asked) if method == "get" else server.post(asked, b"x")
            assert status == (200 if method == "get" else 400), (path, method)


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v1/models/nope:predict", {}, 404, "model 'nope'; there are tiny"),
        ("/v1/models/tiny/versions/7:predict", {}, 404, "version 7 of model tiny is not served"),
        ("/v1/models/tiny/versions/x:predict", {}, 400, "version 'x' is no number"),
        ("/v1/models/tiny:regress", {}, 404, "not :regress"),
        ("/v1/models/..%2F..%2Fetc%2Fpasswd:predict", {}, 404, "paths are /v1/models/NAME"),
        ("/v1/models/..:predict", {}, 404, "model '..'"),
        ("/v1/models/%00:predict", {}, 404, "model '\\x00'"),
        ("/v1/models/tiny:predict", b"", 400, "the body is empty"),
        ("/v1/models/tiny:predict", b"{", 400, "no JSON"),
        ("/v1/models/tiny:predict", {"instances": [{"b64": "*"}]}, 400, "image_bytes[0]"),
        ("/classify?model=nope", b"x", 404, "model 'nope'"),
        ("/classify?version=nope", b"x", 400, "version 'nope' is no number"),
        ("/classify", b"x", 400, "body: The bytes are no image of a known format"),
        ("/nope", b"x", 404, "there is no such path"),
    ],
)
def test_mistakes_are_answered_with_a_status_and_a_reason(
    server: Server, path: str, body: Any, status: int, said: str
) -> None:
    found, told = server.post(path, body)
    assert found == status
    assert said in told["error"]


def test_methods_that_a_path_does_not_have_are_refused(server: Server) -> None:
    assert server.get("/classify")[0] == 405
    assert server.post("/healthz", b"x")[0] == 405


def test_mistakes_over_grpc_are_answered_with_a_code_and_a_reason(
    stub: Any, files: list[bytes]
) -> None:
    nameless, elsewhere, labelled = request(), request(), request(image_bytes=files[:1])
    nameless.model_spec.name, elsewhere.model_spec.name = "", "nope"
    labelled.model_spec.version_label = "stable"
    many = request("explain", image_bytes=files[:1], class_index=np.array([9], np.int32))
    bomb = request("pixels")
    tensor = bomb.inputs["pixels"]
    tensor.dtype = tf.uint8.as_datatype_enum
    tensor.tensor_shape.CopyFrom(tf.TensorShape([1, 10**6, 10**6, 3]).as_proto())
    tensor.int_val.append(1)
    short = request("pixels", pixels=np.zeros([1, 2, 2, 3], np.uint8))
    short.inputs["pixels"].tensor_content = b"123"
    cases = [
        (nameless, "INVALID_ARGUMENT", "model_spec.name is missing"),
        (elsewhere, "NOT_FOUND", "model 'nope'"),
        (labelled, "INVALID_ARGUMENT", "version_label"),
        (request(version=3, image_bytes=files[:1]), "NOT_FOUND", "version 3"),
        (request("nope"), "INVALID_ARGUMENT", "signature_name is 'nope'"),
        (request(other=files[:1]), "INVALID_ARGUMENT", "inputs must name exactly image_bytes"),
        (request(image_bytes=[1.0]), "INVALID_ARGUMENT", "image_bytes must be of dtype string"),
        (request(image_bytes=files[0]), "INVALID_ARGUMENT", "has the shape []"),
        (request("pixels", pixels=[[float("nan")]]), "INVALID_ARGUMENT", "dtype uint8"),
        (request("classify", inputs=[b"\xff"]), "INVALID_ARGUMENT", "inputs[0]"),
        (request("read", image_bytes=b"x"), "INVALID_ARGUMENT", "image_bytes: The bytes are no"),
        (many, "INVALID_ARGUMENT", "there is no such class"),
        (bomb, "INVALID_ARGUMENT", "too many"),
        (short, "INVALID_ARGUMENT", "pixels: its values"),
    ]
    for asked, code, said in cases:
        found = refused(stub.Predict, asked)
        assert found[0] == code, found
        assert said in found[1]


def test_more_rows_than_fit_are_refused(server: Server) -> None:
    rows = [{"b64": ""}] * (Limits().rows + 1)
    status, told = server.post("/v1/models/tiny:predict", {"instances": rows})
    assert status == 413
    assert "divide the request" in told["error"]


def test_a_body_that_says_it_is_too_large_is_not_read(server: Server) -> None:
    with server.connect() as one:
        size = Limits().body + 1
        one.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        assert answer_on(one)[0] == 413


def test_a_body_that_does_not_say_how_large_it_is_is_cut_off(server: Server) -> None:
    before = server.megabytes
    with server.connect() as one:
        one.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        for _ in range(100):
            one.sendall(piece)
        one.sendall(b"0\r\n\r\n")
        assert answer_on(one)[0] == 413
    assert server.megabytes - before < 150


def test_an_image_bomb_is_refused_by_what_its_header_says(server: Server) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6)))
    )
    before = server.megabytes
    status, told = server.post("/classify", bomb)
    assert status == 400
    assert "more than 100000000 pixels" in told["error"]
    assert server.megabytes - before < 100


def test_no_request_reads_a_file(server: Server, exported: Path) -> None:
    for path in ("/page.css/../openapi.json", "/..%2fcard.json", f"/{exported}/saved_model.pb"):
        assert server.get(path)[0] == 404
    status, told = server.post("/classify", str(exported / "saved_model.pb").encode())
    assert status == 400
    assert "no image" in told["error"]


def test_the_page_asks_for_nothing_from_elsewhere(server: Server) -> None:
    for path in ("/", "/page.css", "/page.js"):
        status, text = server.get(path)
        assert status == 200
        assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org)\w+\.", text)


def test_models_are_listed_for_the_page(server: Server) -> None:
    (model,) = server.get("/v1/models")[1]["models"]
    assert model["name"] == "tiny"
    assert model["class_names"] == ["2", "10", "fern leaf"]
    assert (model["versions"], model["image_size"], model["explains"]) == (["1"], 32, True)
    assert 0 <= model["accuracy"]["low"] <= model["accuracy"]["value"] <= 1


def large_image(side: int = 3000) -> bytes:
    file = io.BytesIO()
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_stopping_answers_what_has_come_in(exported: Path) -> None:
    with serving(exported.parent) as server, server.connect() as one:
        body = large_image()
        head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        one.sendall(head + body)
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        status, told = answer_on(one)
        assert (status, told["model"]) == (200, "tiny")
        assert server.process.wait(60) == 0


def test_while_it_stops_it_is_not_ready_and_still_answers(
    exported: Path, files: list[bytes]
) -> None:
    with serving(exported.parent) as server:
        assert server.get("/readyz")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert server.get("/readyz")[0] == 503
        assert server.get("/healthz")[0] == 200
        assert server.post("/classify", files[0])[0] == 200
        assert server.process.wait(60) == 0


def test_a_request_that_comes_too_late_is_told_so(exported: Path, files: list[bytes]) -> None:
    with serving(exported.parent, "--deadline", "0.001") as server:
        status, told = server.post("/classify", files[0])
        assert (status, told) == (504, {"error": "the deadline passed while the request waited"})


def test_ctrl_c_stops_it_without_a_traceback(exported: Path) -> None:
    with serving(exported.parent) as server:
        assert server.stop(signal.SIGINT) == 0
        assert server.process.stdout
        assert "Traceback" not in server.process.stdout.read()


def test_a_full_queue_is_said_at_once(exported: Path) -> None:
    with serving(exported.parent, "--queue", "2") as server, ThreadPoolExecutor(8) as clients:
        rows = {"instances": [b64(b"x")] * 3}
        assert server.post("/v1/models/tiny:predict", rows)[0] == 413
        large = [large_image(1500)] * 8
        found = list(clients.map(lambda body: server.post("/classify", body), large))
        assert {status for status, _ in found} == {200, 429}
        refusals = [told["error"] for status, told in found if status == 429]
        assert set(refusals) == {"2 images wait already: try again later"}
        assert server.post("/classify", large_image(100))[0] == 200
