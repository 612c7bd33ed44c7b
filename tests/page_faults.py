"""The page before a server that does what the real one does in bad times only."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.conftest import ROOT

PAGE = ROOT / "app" / "serving" / "page"
KINDS = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript"}
BELOW = "/some/where/"


@dataclass(frozen=True)
class Reply:
    """An answer other than the ordinary one."""

    status: int
    said: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def describe(name: str, *classes: str, **more: Any) -> dict[str, Any]:
    """One entry of `/v1/models`."""
    measured = {"value": 0.867, "low": 0.813, "high": 0.92, "count": 150}
    about = {"versions": ["2"], "class_names": classes, "accuracy": measured, "explains": True}
    return {"name": name, **about, **more}


class Faulty(ThreadingHTTPServer):
    """Answers what it is told to; the last byte of a photograph is the number of its class.

    Attributes:
        models: As it lists them.
        shares: Of the classes, where they do not follow from the photograph.
        more: Stands in every answer, too.
        replies: By verb, are given before ordinary answers, one each.
        held: By what a request carries, is waited for before it is answered.
    """

    daemon_threads = True

    def __init__(self, *models: dict[str, Any]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models = models or [describe("flowers", "daisy", "roses", "tulips")]
        self.shares: list[float] = []
        self.more: dict[str, Any] = {}
        self.replies: dict[str, list[Reply]] = defaultdict(list)
        self.held: dict[str | bytes, threading.Event] = {}
        self.address = f"http://127.0.0.1:{self.server_port}{BELOW}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def hold(self, what: str | bytes) -> threading.Event:
        """Holds answers about a photograph, or of a model, until the event is set."""
        return self.held.setdefault(what, threading.Event())

    def handle_error(self, *_: object) -> None:
        """Says nothing of a browser that left before its answer came."""


class _Handler(BaseHTTPRequestHandler):
    server: Faulty

    def do_GET(self) -> None:
        verb = urlsplit(self.path).path.removeprefix(BELOW) or "page.html"
        if verb == "v1/models":
            self.answer(verb, {"models": self.server.models})
        else:
            self.send(200, (PAGE / verb).read_bytes(), {"Content-Type": KINDS[verb[5:]]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        name = query.get("model", self.server.models[0]["name"])
        for what in (name, body):
            if what in self.server.held:
                self.server.held[what].wait(60)
        (model,) = (model for model in self.server.models if model["name"] == name)
        classes, who = model["class_names"], {"model": name, "version": "2"}
        verb = url.path.removeprefix(BELOW)
        if verb == "explain":
            warm = classes.index(query["class"]) % 9
            heat = [[float(3 * y + x == warm) for x in range(3)] for y in range(3)]
            self.answer(verb, {**who, "class": query["class"], "heat": heat})
            return
        places = range(len(classes))
        shares = self.server.shares or [
            0.6 * 0.4 ** ((place - body[-1]) % len(classes)) for place in places
        ]
        rows = [{"name": classes[place], "probability": shares[place]} for place in places]
        rows.sort(key=lambda row: -row["probability"])
        self.answer(verb, {**who, **self.server.more, "classes": rows})

    def answer(self, verb: str, what: dict[str, Any]) -> None:
        reply = Reply(200)
        if self.server.replies[verb]:
            reply = self.server.replies[verb].pop(0)
            what = {"error": reply.said}
        no_json = b"<h1>Bad gateway</h1>"
        body = no_json if reply.status == 502 else json.dumps(what).encode()
        self.send(reply.status, body, reply.headers)

    def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""
