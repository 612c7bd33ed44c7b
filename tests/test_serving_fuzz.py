"""`graft serve` among strangers: odd images, JSON, HTTP and gRPC, floods, and who never ends.

Seeds make every request: what fails is told with its seed, and comes again with it.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import random
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, predict_pb2

from app import Run
from tests.serving import Server, serving

MIB = 1 << 20
MOST_GROWTH = 600  # MiB: bodies of 128 are there several times while they are decoded
PREDICT, CLASSIFY = "/v1/models/tiny:predict", "/v1/models/tiny:classify"
# 429 and 504: whoever fuzzes from four threads is a load, too.
STATUSES = {200, 307, 400, 404, 405, 408, 411, 413, 414, 416, 429, 431, 501, 504}
CODES = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"}
CODES |= {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
SERVICE = "/tensorflow.serving.PredictionService/"


@dataclass
class Target:
    """A server, what it prints, and a request whose answer is known."""

    server: Server
    printed: bytearray
    file: bytes
    wanted: np.ndarray
    channel: grpc.Channel

    def memory(self, what: str = "VmRSS") -> int:
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(status.split(f"{what}:")[1].split()[0]) << 10

    @contextlib.contextmanager
    def bounded(self) -> Iterator[None]:
        """Makes sure that the server holds little more memory at any time, and answers after."""
        Path(f"/proc/{self.server.process.pid}/clear_refs").write_text("5")  # forgets the peak
        before = self.memory()
        yield
        grown = (self.memory("VmHWM") - before) / MIB
        self.check()
        assert grown < MOST_GROWTH, f"{grown:.0f} MiB"

    def check(self) -> None:
        assert self.server.process.poll() is None, "the server ended"
        status, told = self.server.post("/classify", self.file)
        assert status == 200, told
        found = [each["probability"] for each in told["classes"]]
        np.testing.assert_allclose(sorted(found), sorted(self.wanted), atol=1e-5)
        assert "Traceback" not in (text := self.printed.decode(errors="replace")), text[-3000:]


@pytest.fixture
def target(exported: Path, finished: Run) -> Iterator[Target]:
    file = finished.test_images()[0].read_bytes()
    answer = tf.saved_model.load(str(exported)).signatures["serving_default"]
    wanted = answer(tf.constant([file]))["probabilities"].numpy()[0]
    options = [("grpc.max_send_message_length", -1)]
    with serving(exported.parent) as server:
        assert server.process.stdout
        # A pipe that nobody reads would fill, and keep the server waiting.
        pipe, printed = os.dup(server.process.stdout.fileno()), bytearray()
        threading.Thread(target=_read_all, args=(pipe, printed), daemon=True).start()
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options) as channel:
            yield Target(server, printed, file, wanted, channel)


def _read_all(pipe: int, into: bytearray) -> None:
    while piece := os.read(pipe, 65536):
        into += piece
    os.close(pipe)


# --- Images -----------------------------------------------------------------------------------


def _chunk(kind: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(width: int, height: int, rows: int) -> bytes:
    """A black image that says one size, and holds some of its rows."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1 + 3 * width) * rows) if rows else b""
    chunks = _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def sound_image(dice: random.Random) -> bytes:
    modes = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "RGBA", "P", "LA", "1", "I;16")}
    modes |= {"GIF": ("P", "L"), "BMP": ("RGB", "L", "P", "1"), "WEBP": ("RGB", "RGBA")}
    modes |= {"TIFF": ("RGB",), "ICO": ("RGBA",), "PPM": ("RGB",)}
    form = dice.choice(sorted(modes))
    size = dice.randint(1, 90), dice.randint(1, 90)
    noise = dice.randbytes(size[0] * size[1] * 3)
    mode, file = dice.choice(modes[form]), io.BytesIO()
    image = Image.frombytes("RGB", size, noise)
    image = Image.new(mode, size, 999) if mode == "I;16" else image.convert(mode)
    more: dict[str, Any] = {"progressive": dice.random() < 0.5} if form == "JPEG" else {}
    if form in ("GIF", "WEBP") and dice.random() < 0.5:
        more = {"save_all": True, "append_images": [image.rotate(90)]}
    image.save(file, form, **more)
    return file.getvalue()


def odd_image(dice: random.Random) -> bytes:
    contents = bytearray(sound_image(dice))
    for _ in range(dice.randint(0, 3)):
        at, kind = dice.randrange(len(contents) + 1), dice.randrange(8)
        if kind == 0:
            del contents[at:]
        elif kind == 1:
            for _ in range(dice.randint(1, 20)):
                contents[dice.randrange(len(contents))] = dice.randrange(256)
        elif kind == 2:
            contents[at:] = sound_image(dice)[dice.randrange(60) :]
        elif kind == 3:
            contents[at:at] = dice.choice([b"\0" * 5000, b"\xff" * 5000, bytes(contents)])
        elif kind == 4:
            sides = [dice.choice([0, 1, 3000, 65535, 2**31 - 1, 2**32 - 1]) for _ in "wh"]
            at, form = dice.choice([(16, ">II"), (18, "<II")])
            contents[at : at + 8] = struct.pack(form, *sides)
        elif kind == 5:
            sides = [dice.choice([0, 1, 3000, 65535, 2**31 - 1]) for _ in "wh"]
            contents[:] = png(*sides, rows=0)
        elif kind == 6:  # EXIF whose directory is its own next one
            entries = struct.pack("<HHHII", 1, 0x112, 3, dice.choice([1, 2**31]), 9)
            exif = b"Exif\0\0II*\0\x08\0\0\0" + entries + struct.pack("<I", 8)
            contents[2:2] = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
        else:
            contents[:] = dice.choice([b"", b"BM", b"GIF89a", b"RIFF\xff\xff\xff\xffWEBPVP8X"])
        contents = contents or bytearray(b"\xff\xd8")
    return bytes(contents)


# --- JSON -------------------------------------------------------------------------------------

NAMES = ["", "serving_default", "pixels", "features", "read", "explain", "classify", "nope"]
VALUES: list[Any] = [None, True, 0, -1, 1.5, 1e308, float("nan"), float("inf"), 2**63, 10**400]
VALUES += ["", "x", "\ud800", "\0", [], {}, [[]], [[1], [2, 3]], [[1], 2], {"b64": None}, "é" * 99]
VALUES += [{"b64": "*"}, {"b64": "YQ"}, {"b64": "YQ==", "x": 1}, {"b64": "\udfff"}, ["a" * 999, 1]]
VALUES += [{"image_bytes": []}, {"image_bytes": [1]}, [{}], [[[[1, 2, 3]]]], [[[[-1, 256, 0]]]]]
VALUES += [[[[[0] * 3] * 4] * 4] * 2, ["x"] * 600, [1] * 600]


def sound_json(dice: random.Random) -> Any:
    file = {"b64": base64.b64encode(odd_image(dice)).decode()}
    pixels = [[[[dice.randrange(256)] * 3] * dice.choice([1, 32])] * dice.choice([1, 32])]
    return dice.choice(
        [
            {"instances": [file, file]},
            {"inputs": {"image_bytes": [file]}, "signature_name": dice.choice(NAMES)},
            {"instances": pixels, "signature_name": "pixels"},
            {"instances": [{"image_bytes": file, "class_index": 0}], "signature_name": "explain"},
            {"examples": [{"image_bytes": file}], "context": {"image_bytes": [file]}},
            {"examples": [{"image_bytes": [file]}], "signature_name": dice.choice(NAMES)},
        ]
    )


def _damage(dice: random.Random, value: Any) -> Any:
    """Puts something else in one place of a value, wherever that is."""
    if dice.random() < 0.25 or not isinstance(value, dict | list) or not value:
        return dice.choice([*VALUES, [value], {"inputs": value}])
    if isinstance(value, list):
        at = dice.randrange(len(value))
        return [*value[:at], _damage(dice, value[at]), *value[at + 1 :]]
    key = dice.choice(sorted(value))
    return {**value, dice.choice([key] * 9 + ["other"]): _damage(dice, value[key])}


def odd_json(dice: random.Random) -> bytes:
    value = sound_json(dice)
    for _ in range(dice.randint(0, 3)):
        value = _damage(dice, value)
    body = json.dumps(value).encode("utf-8", "surrogatepass")
    at, deep = dice.randrange(len(body)), dice.choice([50, 900, 990, 1000, 100_000])
    damaged = [
        body[:at],
        body[:at] + dice.randbytes(3) + body[at:],
        body.replace(b"{", b'{"instances": [1], "instances": [2], ', 1),
        body.replace(b"{", b'{"signature_name": ' + b"[" * deep + b"]" * deep + b", ", 1),
        b'{"instances": ' + b"[" * deep + b"1" + b"]" * deep + b"}",
        body.replace(b"0", b"1e999").replace(b"1", b"9" * 5000, 1),
        value and json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"),
        json.dumps(value).encode("utf-16"),
    ]
    return body if dice.random() < 0.7 else dice.choice(damaged) or b"[]"


# --- HTTP -------------------------------------------------------------------------------------

PATHS = ["/", "/classify", "/explain", "/healthz", "/metrics", "/openapi.json", "/v1/models"]
PATHS += [PREDICT, CLASSIFY, "/v1/models/tiny", "/v1/models/tiny/metadata", "/page.css"]
PATHS += ["/v1/models/tiny/versions/1", "/explain?class=fern%20leaf", "/classify?version=1"]
BITS = ["..", "%2e%2e%2f", "%00", "%ff", "//", "\\", "?", "#", ";", ":", "%", "/etc/passwd", "é"]
BITS += ["versions/-1", "versions/99999999999999999999", "?model=nope", "&class=%0a", "A" * 3000]
HEADS = ["Content-Length: -1", "Content-Length: 5", "Content-Length: 99999999999999999999", "X"]
HEADS += ["Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Expect: 100-continue"]
HEADS += ["Transfer-Encoding : chunked", "Host: [", "Host: x/y", " folded: x", "A: " + "a" * 9000]
HEADS += ["Connection: upgrade\r\nUpgrade: websocket", "Range: bytes=5-1,a", "Range: bytes=0-,0-"]
HEADS += ["Content-Encoding: gzip", "Content-Type: \xff", "Connection: close", "X: \0", ": x"]


def odd_path(dice: random.Random) -> str:
    path = dice.choice(PATHS)
    for _ in range(dice.randint(0, 2)):
        at = dice.randrange(1, len(path) + 1)
        path = path[:at] + dice.choice(BITS) + path[at + dice.randrange(4) :]
    return path


def odd_http(dice: random.Random) -> bytes:
    method = dice.choice(["GET", "POST", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "get", "\0"])
    heads = "".join(f"{dice.choice(HEADS)}\r\n" for _ in range(dice.randint(0, 3)))
    line = f"{method} {odd_path(dice)} HTTP/{dice.choice(['1.1'] * 8 + ['1.0', '2.0', '9'])}\r\n"
    chunks = ["5\r\nhello\r\n0\r\n\r\n", "zz\r\n", "-1\r\n", "ffffffffffffffff\r\n", "5\r\nhe"]
    body = dice.choice(["", "", "hello", *chunks, "GET /healthz HTTP/1.1\r\n\r\n"])
    sent = (line + "Host: x\r\n" + heads + "\r\n" + body).encode("latin-1")
    kind, at = dice.randrange(8), dice.randrange(len(sent))
    odd = {0: sent[:at], 1: sent[:at] + dice.randbytes(4) + sent[at:], 2: dice.randbytes(200)}
    odd[3] = b"GET /healthz HTTP/1.1\r\n\r\n" * 20 + sent  # pipelined
    return odd.get(kind, sent)


def send_odd_http(target: Target, dice: random.Random) -> str:
    """Sends bytes by hand, reads one answer if one comes soon, and leaves."""
    with target.server.connect() as one:
        one.settimeout(0.2)
        try:
            one.sendall(odd_http(dice))
            if dice.random() < 0.1:
                return "left"
            answer = http.client.HTTPResponse(one)
            answer.begin()
            return _judge(answer.status, answer.read())
        except (TimeoutError, ConnectionError, http.client.HTTPException):
            return "silence"  # half a request has no answer, and HEAD no body


def _post(target: Target, path: str, body: bytes) -> str:
    one = http.client.HTTPConnection("127.0.0.1", target.server.port, timeout=60)
    one.request("POST", path, body)
    answer = one.getresponse()
    told = answer.read()
    one.close()
    return _judge(answer.status, told)


def _judge(status: int, told: bytes) -> str:
    assert status in STATUSES, (status, told[:300])
    if status >= 400 and told:  # HEAD has no body
        error = json.loads(told)["error"]
        assert isinstance(error, str)
        assert error
        assert "Traceback" not in error
        assert "/site-packages" not in error
    return str(status)


def send_odd_image(target: Target, dice: random.Random) -> str:
    contents = odd_image(dice)
    if dice.random() < 0.7:
        return _post(target, dice.choice(["/classify", "/classify", "/explain"]), contents)
    row = {"b64": base64.b64encode(contents).decode()}
    if dice.random() < 0.5:
        return _post(target, PREDICT, json.dumps({"instances": [row]}).encode())
    return _post(target, CLASSIFY, json.dumps({"examples": [{"image_bytes": row}]}).encode())


def send_odd_json(target: Target, dice: random.Random) -> str:
    return _post(target, dice.choice([PREDICT, PREDICT, CLASSIFY]), odd_json(dice))


# --- gRPC -------------------------------------------------------------------------------------


def tensor_request(
    signature: str, name: str, dtype: int, shape: list[int], **values: Any
) -> predict_pb2.PredictRequest:
    asked = predict_pb2.PredictRequest()
    asked.model_spec.name, asked.model_spec.signature_name = "tiny", signature
    asked.inputs[name].dtype = dtype
    for size in shape:
        asked.inputs[name].tensor_shape.dim.add(size=size)
    for field, value in values.items():
        if isinstance(value, list):
            getattr(asked.inputs[name], field).extend(value)
        else:
            setattr(asked.inputs[name], field, value)
    return asked


def _odd_predict(dice: random.Random) -> Any:
    spec = dice.choice(NAMES), dice.choice(["pixels", "image_bytes", "inputs", "x"])
    if dice.random() < 0.7:
        spec = dice.choice([("", "image_bytes"), ("pixels", "pixels"), ("read", "image_bytes")])
    text = spec[1] != "pixels"
    sizes = [0, 1, 2, 3, 32, -1, 10**4, 2**31, 2**62]
    sound = [[1], []] if text else [[1, 4, 4, 3], [2, 32, 32, 3], [1, 1, 1, 3]]
    loose = [dice.choice(sizes) for _ in range(dice.randrange(6))]
    shape = dice.choice([*sound * 2, loose, [1] * 300])
    dtype = dice.choice([7 if text else 4] * 4 + [0, 1, 3, 9, 19, 20, 21, 23, 101, 999])
    fields: dict[str, list[Any]] = {
        "string_val": [odd_image(dice)],
        "int_val": [dice.choice([1, 300, -1, 2**31 - 1])] * dice.choice([1, 2, 48]),
        "half_val": [1],
        "float_val": [float("nan")],
        "tensor_content": [],
    }
    chosen = dice.choice([["string_val"], ["int_val"], [*fields], dice.sample([*fields], 2)])
    values: dict[str, Any] = {name: fields[name] for name in chosen}
    if "tensor_content" in values:
        values["tensor_content"] = dice.randbytes(dice.choice([0, 1, 48]))
    asked = tensor_request(*spec, dtype, shape, **values)
    if dice.random() < 0.1:
        asked.inputs["pixels"].tensor_shape.unknown_rank = True
    asked.output_filter.extend(dice.choice([[]] * 8 + [["label"], ["é\n" * 999]]))
    return asked


def _odd_classify(dice: random.Random) -> Any:
    asked = classification_pb2.ClassificationRequest()
    asked.model_spec.name, asked.model_spec.signature_name = "tiny", dice.choice(NAMES)
    listed: Any = asked.input.example_list
    if dice.random() < 0.5:
        listed = asked.input.example_list_with_context
        listed.context.features.feature["image_bytes"].bytes_list.value.append(odd_image(dice))
    for _ in range(dice.randrange(4)):
        feature = listed.examples.add().features.feature[dice.choice(["image_bytes", "x"])]
        if dice.random() < 0.7:
            feature.bytes_list.value.extend([odd_image(dice)] * dice.choice([1, 1, 2]))
        else:
            feature.float_list.value.append(float("nan"))
    return asked


def _odd_metadata(dice: random.Random) -> Any:
    fields = dice.choice([["signature_def"], [], ["x" * 10**4], ["signature_def", "../etc"]])
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    asked.model_spec.name = "tiny"
    return asked


def send_odd_grpc(target: Target, dice: random.Random) -> str:
    kinds = [("Predict", _odd_predict)] * 3 + [("Classify", _odd_classify)] * 2
    method, make = dice.choice([*kinds, ("GetModelMetadata", _odd_metadata)])
    asked = make(dice)
    if dice.random() < 0.2:
        asked.model_spec.name = dice.choice(["", "nope", "../etc/passwd", "é\0\n" * 300])
    if dice.random() < 0.2:
        asked.model_spec.version.value = dice.choice([-1, 0, 1, 2**63 - 1])
    sent = bytearray(asked.SerializeToString())
    if dice.random() < 0.2:
        sent[dice.randrange(len(sent)) :] = dice.randbytes(dice.randrange(30))
    return _call(target, dice.choice([method] * 20 + ["Nope", "Regress"]), bytes(sent))


def _call(target: Target, method: str, sent: bytes) -> str:
    call = target.channel.unary_unary(SERVICE + method, bytes, bytes)
    try:
        call(sent, timeout=60)
    except grpc.RpcError as error:
        code, told = error.code().name, error.details()
        assert code in CODES, (method, code, told)
        assert told
        return str(code)
    return "OK"


# --- All of it --------------------------------------------------------------------------------

SENDERS = [send_odd_image, send_odd_json, send_odd_http, send_odd_grpc]


def fuzz(target: Target, seeds: range, wrong: list[str]) -> Counter[str]:
    """Sends a request for each seed; counts the answers, and lists the wrong ones."""

    def send(seed: int) -> str:
        sender = SENDERS[seed % len(SENDERS)]
        try:
            return f"{sender.__name__[9:]} {sender(target, random.Random(seed))}"
        except Exception as error:  # all are told: one by one they would take a run each
            wrong.append(f"{sender.__name__}, seed {seed}: {error!r}"[:300])
            return f"{sender.__name__[9:]} wrong"

    with ThreadPoolExecutor(4) as clients:
        return Counter(clients.map(send, seeds))


def test_hundreds_of_odd_requests_are_answered_rightly(target: Target) -> None:
    wrong: list[str] = []
    with target.bounded():
        counts = fuzz(target, range(600), wrong)
        assert not wrong, f"{wrong[:10]} {counts}"


@pytest.mark.slow
def test_ten_thousand_odd_requests_leave_the_server_as_it_was(target: Target) -> None:
    wrong: list[str] = []
    with target.bounded():
        counts = fuzz(target, range(1000, 3000), wrong)
        settled = target.memory()
        counts += fuzz(target, range(3000, 11_200), wrong)
        grown = target.memory() - settled
        assert not wrong, f"{wrong[:: 1 + len(wrong) // 20]} {counts}"
    assert grown < 100 * MIB


# --- Little that asks for much, and who never ends --------------------------------------------


def shared_context() -> Any:
    asked = classification_pb2.ClassificationRequest()
    asked.model_spec.name = "tiny"
    listed = asked.input.example_list_with_context
    listed.context.features.feature["image_bytes"].bytes_list.value.append(bytes(MIB))
    for _ in range(800):
        listed.examples.add()
    return asked


def all_at_once(send: Callable[[int], Any], count: int) -> None:
    with ThreadPoolExecutor(count) as clients:
        list(clients.map(send, range(count)))


def flood(target: Target, head: bytes, piece: bytes) -> None:
    """Sends as much as is taken, and reads nothing."""

    def send(number: int) -> None:
        with target.server.connect() as one:
            one.settimeout(0.5)
            end = time.monotonic() + 5
            with contextlib.suppress(OSError):
                one.sendall(head)
                while time.monotonic() < end:
                    one.sendall(piece)

    all_at_once(send, 4)


def _texts(target: Target) -> None:
    body = {"signature_name": "pixels", "instances": ["a" * 200_000] + [""] * 1000}
    _post(target, PREDICT, json.dumps(body).encode())


def _lists(target: Target) -> None:
    row = b"[]," * (10 * MIB) + b"[]"
    _post(target, PREDICT, b'{"signature_name": "pixels", "instances": [' + row + b"]}")


def _json_context(target: Target) -> None:
    context = {"image_bytes": {"b64": base64.b64encode(bytes(MIB)).decode()}}
    _post(target, CLASSIFY, json.dumps({"context": context, "examples": [{}] * 800}).encode())


def _context(target: Target) -> None:
    _call(target, "Classify", shared_context().SerializeToString())


def _thin(target: Target) -> None:
    asked = tensor_request("pixels", "pixels", 4, [1, 1, 2_000_000, 3], int_val=[1])
    _call(target, "Predict", asked.SerializeToString())


def _broadcast(target: Target) -> None:
    asked = tensor_request("pixels", "pixels", 4, [1, 3344, 3344, 3], int_val=[1])
    all_at_once(lambda number: _call(target, "Predict", asked.SerializeToString()), 60)


def _messages(target: Target) -> None:
    shape = [1, 3200, 3200, 3]
    asked = tensor_request("pixels", "pixels", 4, shape, tensor_content=bytes(3200 * 3200 * 3))
    all_at_once(lambda number: _call(target, "Predict", asked.SerializeToString()), 40)


def _bodies(target: Target) -> None:
    all_at_once(lambda number: _post(target, "/classify", b"\xff\xd8" + bytes(31 * MIB)), 8)


def _pipelined(target: Target) -> None:
    flood(target, b"", b"GET /healthz HTTP/1.1\r\n\r\n" * 40_000)


def _trailers(target: Target) -> None:
    flood(target, CHUNKED + b"1\r\na\r\n0\r\n", b"a: b\r\n" * 100_000)


def _one_trailer(target: Target) -> None:
    flood(target, CHUNKED + b"1\r\na\r\n0\r\na: ", b"b" * MIB)


CHUNKED = b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
GREEDY = [_texts, _lists, _json_context, _context, _thin, _broadcast, _messages, _bodies]


@pytest.mark.slow
@pytest.mark.parametrize("ask", [*GREEDY, _pipelined, _trailers, _one_trailer])
def test_no_request_takes_memory_without_bound(
    target: Target, ask: Callable[[Target], None]
) -> None:
    with target.bounded():
        ask(target)


HALF = b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
# First, then each second, for so many seconds; when the connection must have ended.
NEVER_ENDING = {
    "says nothing": (b"", b"", 0, 15),
    "headers drip": (b"GET / HTTP/1.1\r\n", b"a", 60, 15),
    "body drips": (HALF.replace(b"nope", b"classify"), b"a", 60, 70),
    "body drips after its answer": (HALF, b"a", 60, 70),
    "idle after a late body": (HALF, b"a" * 100, 2, 70),
    "reads nothing": (b"GET /openapi.json HTTP/1.1\r\n\r\n" * 2000, b"", 0, 100),
}


@pytest.mark.slow
def test_who_never_ends_is_left_and_keeps_nobody_waiting(target: Target) -> None:
    began = time.monotonic()
    names = [name for name in NEVER_ENDING for _ in range(5)]
    late: set[str] = set()
    with contextlib.ExitStack() as ends:
        open_still = [(name, ends.enter_context(target.server.connect())) for name in names]
        for name, one in open_still:
            one.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                one.sendall(NEVER_ENDING[name][0])
        began_after = time.monotonic() - began
        while open_still:
            time.sleep(1)
            spent = time.monotonic() - began
            # Asked of the kernel: who reads nothing sees no end. 1 is ESTABLISHED.
            how = socket.IPPROTO_TCP, socket.TCP_INFO, 1
            open_still = [each for each in open_still if each[1].getsockopt(*how) == b"\1"]
            late |= {name for name, _ in open_still if spent > NEVER_ENDING[name][3]}
            assert spent < 105, late
            for name, one in open_still:
                _, more, seconds, _ = NEVER_ENDING[name]
                with contextlib.suppress(OSError):
                    one.sendall(more if spent < began_after + seconds else b"")
            target.check()
    assert not late
