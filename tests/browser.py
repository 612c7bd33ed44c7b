"""A headless Chromium, driven over its DevTools protocol with the standard library alone.

    with Browser() as browser:
        browser.open("http://127.0.0.1:8000/")
        browser.choose_files("#file", [path])
        browser.wait("document.querySelectorAll('button.bar').length")
        assert not browser.complaints()

Chromium's fake camera answers `getUserMedia`, and nobody is asked for permission.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]

# The contrast of every text with what is under it, as WCAG 2 counts it; only the failures.
PALE = """[...document.querySelectorAll('body *')].flatMap((element) => {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility({visibilityProperty: true})) return [];
  const light = (css) => css.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  let under = element, back;
  do back = getComputedStyle(under).backgroundColor;
  while ((back === 'rgba(0, 0, 0, 0)') && (under = under.parentElement));
  const [low, high] = [light(getComputedStyle(element).color), light(back)].sort((a, b) => a - b);
  const ratio = (high + 0.05) / (low + 0.05);
  const name = element.id || element.className || element.tagName;
  return ratio < 4.5 ? [`${name}: ${ratio.toFixed(2)}`] : [];
})"""

# Runs before the page does: what it is refused by its policy, and what moves by itself.
WATCH = """
window.refusals = []; window.shifts = [];
addEventListener('securitypolicyviolation', (event) =>
  refusals.push(`${event.violatedDirective}: ${event.blockedURI}`));
new PerformanceObserver((list) => list.getEntries().forEach(({value, sources}) => shifts.push(
  {value, of: sources.map(({node}) => node && (node.id || node.className || node.nodeName))})))
  .observe({type: 'layout-shift', buffered: true});
"""


def find_browser() -> str | None:
    """The Chromium or Chrome on this machine, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Socket:
    """As much of a WebSocket (RFC 6455) as a DevTools client needs."""

    def __init__(self, url: str, timeout: float = 60):
        place = urlsplit(url)
        self.stream = socket.create_connection((place.hostname, place.port), timeout)
        key = base64.b64encode(os.urandom(16)).decode()
        self.stream.sendall(
            f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.reader = self.stream.makefile("rb")
        if b" 101 " not in self.reader.readline():
            raise ConnectionError(f"{url} does not speak WebSocket")
        while self.reader.readline().strip():
            pass

    def close(self) -> None:
        self.reader.close()
        self.stream.close()

    def send(self, text: str) -> None:
        body, mask = text.encode(), os.urandom(4)
        length = len(body)
        if length < 126:
            head = struct.pack("!BB", 0x81, 0x80 | length)
        elif length < 1 << 16:
            head = struct.pack("!BBH", 0x81, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", 0x81, 0x80 | 127, length)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
        self.stream.sendall(head + mask + masked)

    def receive(self) -> str:
        """The next message; its parts put together, pings left unanswered (Chromium sends none)."""
        message = b""
        while True:
            first, length = self._read(2)
            length &= 0x7F
            if length > 125:
                length = int.from_bytes(self._read(2 if length == 126 else 8))
            part, kind = self._read(length), first & 0x0F
            if kind == 8:
                raise ConnectionError("the browser has hung up")
            if kind in (0, 1):
                message += part
                if first & 0x80:
                    return message.decode()

    def _read(self, count: int) -> bytes:
        data = self.reader.read(count)
        if len(data) < count:
            raise ConnectionError("the browser has gone")
        return data


class Browser:
    """One page in a browser of its own, which ends with it."""

    def __init__(self, patience: float = 60):
        self.patience, self.events, self.number = patience, [], 0
        self.socket: Socket | None = None
        self.profile = tempfile.mkdtemp(prefix="browser-")
        self.process = subprocess.Popen(
            [find_browser() or NAMES[0], *FLAGS, f"--user-data-dir={self.profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self.socket = Socket(self._page())
            for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
                self.call(f"{domain}.enable")
            self.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _page(self) -> str:
        """The address of the page's DevTools, as soon as the browser has written its port down."""
        written = Path(self.profile) / "DevToolsActivePort"
        until(lambda: written.exists() and written.read_text().count("\n"), 60, "no browser")
        port = written.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        return pages[0]["webSocketDebuggerUrl"]

    def close(self) -> None:
        """Ends the browser with all its processes, which are a group of their own."""
        if self.socket:
            self.socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method: str, **params: Any) -> dict:
        """Asks the browser for one thing; what happens meanwhile is added to `events`."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.receive())
            if "id" not in message:
                self.events.append(message)
            elif message["id"] == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript in the page; promises are waited for."""
        said = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in said:
            raise RuntimeError(f"{expression}: {said['exceptionDetails']}")
        return said["result"].get("value")

    def wait(self, expression: str) -> None:
        """Waits until JavaScript in the page is true."""
        until(lambda: self.evaluate(expression), self.patience, expression)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url="about:blank")
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def text(self, selector: str) -> str:
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def click(self, selector: str) -> None:
        """Clicks the middle of an element with the mouse, so that only what is seen is hit."""
        middle = self.evaluate(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)});"
            "element.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const box = element.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            spot = {"x": middle[0], "y": middle[1], "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **spot)

    def texts(self, selector: str) -> list[str]:
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return self.evaluate(f"{found}.map(({{innerText}}) => innerText)")

    def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type=kind, **named, **typed)

    def choose_files(self, selector: str, paths: Iterable[Path | str]) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def look_like(self, width: int, height: int, dark: bool = False, still: bool = True) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        wishes = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "no-preference",
        }
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        self.call("Emulation.setEmulatedMedia", features=features)

    def go_offline(self, offline: bool = True) -> None:
        """Cuts the page off, and waits until it knows: a request right now could slip through."""
        rates = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.call("Network.emulateNetworkConditions", offline=offline, **rates)
        self.wait(f"navigator.onLine === {json.dumps(not offline)}")

    def requests(self) -> list[str]:
        """The addresses that were asked for since the page was opened, but for blob: and data:."""
        sent = [e["params"]["request"]["url"] for e in self._seen("Network.requestWillBeSent")]
        return [url for url in sent if not url.startswith(("blob:", "data:"))]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, uncaught exceptions, what the policy refused."""
        logged = [event["params"]["entry"] for event in self._seen("Log.entryAdded")]
        said = [e["params"] for e in self._seen("Runtime.consoleAPICalled")]
        thrown = [e["params"]["exceptionDetails"] for e in self._seen("Runtime.exceptionThrown")]
        return (
            [entry["text"] for entry in logged if entry["level"] in ("error", "warning")]
            + [str(call["args"]) for call in said if call["type"] in ("error", "warning")]
            + [str(details) for details in thrown]
            + self.evaluate("window.refusals")
        )

    def _seen(self, method: str) -> list[dict]:
        self.call("Runtime.evaluate", expression="0")  # takes in what has happened until now
        return [event for event in self.events if event["method"] == method]

    def misfits(self) -> list[str]:
        """What is wider than the window, and texts that are too pale for what is under them."""
        wide = self.evaluate("document.documentElement.scrollWidth - innerWidth")
        return [f"{wide} pixels too wide"] * (wide > 0) + self.evaluate(PALE)

    def accessible(self) -> list[tuple[str, str]]:
        """Role and name of everything that a screen reader is told of."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node.get("role", {}).get("value", ""), node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]


def until(holds: Any, patience: float, what: str) -> None:
    """Waits for a condition; a `TimeoutError` says which one never held."""
    end = time.monotonic() + patience
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {patience} s: {what}")
        time.sleep(0.05)
