"""What Prometheus is told."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from app.serving.admission import Gate
from app.serving.catalogue import Catalogue, Model

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_ROWS = (1, 2, 4, 8, 16)
UNKNOWN = "unknown"  # in place of names that a request made up


def _newest(model: Model) -> float:
    return max(model.versions, default=0)


class Metrics:
    """Counters of one server; names begin with `graft_`."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, catalogue: Catalogue, gate: Gate) -> None:
        """Registers all of them."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        labels = ["protocol", "method", "model"]
        self._requests = Counter(
            "graft_requests", "Requests answered.", [*labels, "status"], registry=registry
        )
        self._seconds = Histogram(
            "graft_request_seconds",
            "Seconds from the last byte of a request to its answer.",
            labels,
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch = Histogram(
            "graft_batch_rows", "Images in a batch.", buckets=_ROWS, registry=registry
        )
        rows = Gauge("graft_rows_inside", "Images that wait or are computed.", registry=registry)
        rows.set_function(lambda: gate.rows)
        held = Gauge("graft_body_bytes", "Bytes of bodies in memory.", registry=registry)
        held.set_function(lambda: gate.held)
        wait = Gauge("graft_expected_wait_seconds", "Of an image that comes.", registry=registry)
        wait.set_function(lambda: gate.wait)
        served = Gauge("graft_newest_version", "That answers.", ["model"], registry=registry)
        for name, model in catalogue.models.items():
            served.labels(name).set_function(partial(_newest, model))
        self._catalogue = catalogue

    def answered(
        self, protocol: str, method: str, model: str | None, status: str, seconds: float
    ) -> None:
        """Counts a request.

        Args:
            protocol: `http` or `grpc`.
            method: One of few: never what a request made up.
            model: As the request named it.
            status: Of the protocol.
            seconds: That it took.
        """
        name = model if model in self._catalogue.models else UNKNOWN
        self._requests.labels(protocol, method, name, status).inc()
        self._seconds.labels(protocol, method, name).observe(seconds)

    def batch(self, rows: int) -> None:
        """Counts a batch."""
        self._batch.observe(rows)

    def text(self) -> bytes:
        """Writes all of them as Prometheus reads them."""
        return bytes(generate_latest(self._registry))
