"""The REST API of TensorFlow Serving, and what is plainer: files in, answers out.

Source: tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.exports.signatures import EXAMPLE_KEY
from app.serving import classifying, codec, telling
from app.serving.answering import Answering
from app.serving.bodies import body_of
from app.serving.catalogue import Served
from app.serving.errors import (
    BadRequestError,
    NotHereError,
    ServingError,
    StoppingError,
    shown,
)
from app.serving.limits import Limits
from app.serving.metrics import Metrics

_PATH = re.compile(r"(?P<name>[^/:]+)(/versions/(?P<version>[^/:]+))?(?P<rest>:\w+|/metadata)?")
_HERE = Path(__file__).parent
PAGE = {
    "/": ("page/page.html", "text/html"),
    "/page.css": ("page/page.css", "text/css"),
    "/page.js": ("page/page.js", "text/javascript"),
}
_SAFE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src"
    " 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action"
    " 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
# JSON larger than this is not read on the event loop: nobody else would be answered meanwhile.
_MUCH = 1 << 18
_log = logging.getLogger("graft")
Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class Rest:
    """Answers over HTTP.

    Attributes:
        answering: What is behind it.
        metrics: Are told of each request.
        limits: Of bodies.
        stopping: Whether the server is about to end.
    """

    answering: Answering
    metrics: Metrics
    limits: Limits
    stopping: bool = False
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def app(self) -> Starlette:
        """Returns the ASGI application."""
        pages = [
            Route(path, self._said("page", _file(name, kind, _SAFE)), methods=["GET"])
            for path, (name, kind) in PAGE.items()
        ]
        get = {
            "/healthz": self._alive,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/monitoring/prometheus/metrics": self._metrics,  # where TensorFlow Serving has it
            "/openapi.json": _file("openapi.json", "application/json"),
            "/v1/models": self._models,
        }
        routes = [
            Route(path, self._said(path, each), methods=["GET"]) for path, each in get.items()
        ]
        routes += [
            Route("/classify", self._said("classify", self._classify), methods=["POST"]),
            Route("/explain", self._said("explain", self._explain), methods=["POST"]),
            Route("/v1/models/{path:path}", self._said("status", self._about), methods=["GET"]),
            Route("/v1/models/{path:path}", self._said("predict", self._asked), methods=["POST"]),
        ]
        return Starlette(routes=[*pages, *routes], exception_handlers={HTTPException: _no_such})

    def _said(self, method: str, handler: Handler) -> Handler:
        """Turns what goes wrong into an answer, and counts it."""

        async def answer(request: Request) -> Response:
            request.state.model, request.state.method, began = None, method, time.monotonic()
            try:
                response = await handler(request)
            except ServingError as error:
                response = _refused(error)
            except ClientDisconnect:
                response = Response(status_code=499)  # nobody reads it
            except Exception:
                _log.exception("%s %s could not be answered", request.method, method)
                response = JSONResponse({"error": "the server made a mistake"}, 500)
            seconds = time.monotonic() - getattr(request.state, "read", began)
            asked = request.state
            self.metrics.answered(
                "http", asked.method, asked.model, str(response.status_code), seconds
            )
            return response

        return answer

    async def _alive(self, request: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def _ready(self, request: Request) -> Response:
        self._check_open()
        return Response("ok\n", media_type="text/plain")

    def _check_open(self) -> None:
        if self.stopping:
            raise StoppingError("the server is about to stop: ask another one")
        if not self.answering.catalogue.is_ready:
            raise StoppingError("no version of some model is served yet: try again later")

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type=self.metrics.content_type)

    async def _models(self, request: Request) -> Response:
        models = self.answering.catalogue.models.values()
        return JSONResponse({"models": [telling.model_to_json(each) for each in models]})

    async def _about(self, request: Request) -> Response:
        name, version, rest = _parts(request)
        request.state.model = name
        if rest == "/metadata":
            served = self.answering.catalogue.find(name, version)
            request.state.method = "metadata"
            return JSONResponse(telling.metadata_to_json(served))
        if rest is not None:
            raise NotHereError(f"{rest[:60]} takes POST, not GET")
        return JSONResponse(telling.status_to_json(self.answering.catalogue.states(name, version)))

    async def _asked(self, request: Request) -> Response:
        """Answers `:predict` and `:classify`."""
        name, version, rest = _parts(request)
        request.state.model = name
        served = self.answering.catalogue.find(name, version)
        if rest not in (":predict", ":classify"):
            raise NotHereError(f"a model answers :predict and :classify, not {(rest or '/')[:60]}")
        request.state.method = rest[1:]
        async with self._body(request) as body:
            served = self.answering.catalogue.find(name, version)  # it may be another one by now
            return await (self._predict if rest == ":predict" else self._examples)(served, body)

    async def _predict(self, served: Served, body: bytes) -> Response:
        deadline = self.answering.deadline()
        asked = await self._aside(body, lambda: codec.parse_predict(body, served.signatures))
        found = await self.answering.predict(served, asked.signature, asked.inputs, deadline)
        return JSONResponse(codec.to_json(found, asked.by_row))

    async def _examples(self, served: Served, body: bytes) -> Response:
        deadline = self.answering.deadline()
        files = await self._aside(body, lambda: classifying.parse_classify(body, EXAMPLE_KEY))
        said = await self.answering.classify(served, files, deadline)
        return JSONResponse(classifying.classes_to_json(said["classes"], said["probabilities"]))

    async def _classify(self, request: Request) -> Response:
        """Answers the file that is the body."""
        self._wanted(request)
        async with self._body(request) as body:
            served = self._wanted(request)  # another one, perhaps, than before its body came
            said = await self.answering.classify(served, [body], self.answering.deadline())
        _check_readable(said)
        return JSONResponse(telling.answer_to_json(served, said))

    async def _explain(self, request: Request) -> Response:
        self._wanted(request)
        name = request.query_params.get("class")
        async with self._body(request) as body:
            served = self._wanted(request)
            said = await self.answering.explain(served, body, name, self.answering.deadline())
        _check_readable(said)
        who = {"model": served.model, "version": str(served.number)}
        label = said["label"][0].decode()
        return JSONResponse({**who, "class": label, "heat": said["heat"][0].tolist()})

    def _body(self, request: Request) -> AbstractAsyncContextManager[bytes]:
        return body_of(request, self.answering.gate, self.limits)

    async def _aside(self, body: bytes, work: Callable[[], Any]) -> Any:
        """Reads JSON: much of it on a thread, and one at a time, since it takes memory."""
        if len(body) <= _MUCH:
            return work()
        async with self._reading:
            return await asyncio.to_thread(work)

    def _wanted(self, request: Request) -> Served:
        """Finds the model that the query names."""
        name, version = (request.query_params.get(key) for key in ("model", "version"))
        served = self.answering.catalogue.find(name, _number(version))
        request.state.model = served.model
        return served


def _file(name: str, kind: str, headers: Mapping[str, str] | None = None) -> Handler:
    """Returns what answers with a file of graft's own, which is read here and no more."""
    contents = (_HERE / name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(contents, media_type=kind, headers=headers)

    return answer


def _check_readable(said: Any) -> None:
    reason = said["error"][0].decode()
    if reason:
        raise BadRequestError(f"body: {reason.rstrip('.')}; send the bytes of an image file")


def _parts(request: Request) -> tuple[str, int | None, str | None]:
    found = _PATH.fullmatch(request.path_params["path"])
    if found is None:
        raise NotHereError("paths are /v1/models/NAME[/versions/N][:predict|:classify|/metadata]")
    return found["name"], _number(found["version"]), found["rest"]


def _number(version: str | None) -> int | None:
    if version is None:
        return None
    if not (version.isascii() and version.isdecimal() and len(version) < 19):
        raise BadRequestError(f"version {shown(version)} is no number")
    return int(version)


def _refused(error: ServingError) -> Response:
    headers = {"retry-after": "1"} if error.status == 429 else {}
    return JSONResponse({"error": str(error)}, error.status, headers)


async def _no_such(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: "there is no such path: / is a page, /openapi.json lists the others"}
    text = said.get(error.status_code, str(error.detail))
    return JSONResponse({"error": text}, error.status_code, error.headers)
