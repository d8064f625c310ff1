"""What ``/metrics`` tells, in Prometheus' format."""

from __future__ import annotations

from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from runtime import __version__

from .desk import Desk, Reply

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Of one server."""

    def __init__(self, desk: Desk) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("diffll_requests", "Requests by route and code.", ["route", "code"], registry=registry)
        what = "Seconds of a request by part: queue, decode, engine, encode; total is all, reading the body included."
        self._parts = Histogram("diffll_request_seconds", what, ["part"], buckets=_SECONDS, registry=registry)
        self._pixels = Counter("diffll_megapixels", "Megapixels that were enhanced.", registry=registry)
        self._photos = Counter(
            "diffll_photos", "Photos by sampling and by how they were run.", ["sampling", "plan"], registry=registry
        )
        taken = Gauge("diffll_places_taken", "Requests between their first byte and their answer.", registry=registry)
        taken.set_function(lambda: desk.taken)
        depth = Gauge("diffll_queue_depth", "Requests that wait for the engine worker.", registry=registry)
        depth.set_function(lambda: len(desk.waiting))
        at_work = Gauge("diffll_at_work", "Requests that the engine worker has.", registry=registry)
        at_work.set_function(lambda: len(desk.at_work))
        ready = Gauge("diffll_ready", "1 while photos are taken.", registry=registry)
        ready.set_function(lambda: desk.ready)
        self._ended = Counter("diffll_engine_ended", "Engine workers that ended unasked.", registry=registry)
        self._memory = Gauge("diffll_engine_resident_bytes", "Memory of the engine worker.", registry=registry)
        labels = ["version", "backend", "providers", "precision", "sampling"]
        self._info = Gauge("diffll_info", "1, with what really runs as labels.", labels, registry=registry)

    def request(self, route: str, code: int, seconds: float) -> None:
        self._requests.labels(route, str(code)).inc()
        if route.startswith("POST "):
            self._parts.labels("total").observe(seconds)

    def reply(self, reply: Reply) -> None:
        for part, milliseconds in {"queue": reply.wait_ms, **reply.header["ms"]}.items():
            self._parts.labels(part).observe(milliseconds / 1000)
        self._pixels.inc(reply.header["pixels"] / 1e6)
        plan = reply.header["plan"]
        kind = "tiles" if "windows of" in plan else "strips" if "in strips" in plan else "whole"
        self._photos.labels(reply.header["sampling"], kind).inc()

    def engine_ready(self, info: dict[str, Any]) -> None:
        self._info.clear()
        providers = ",".join(info["providers"]) or "default"
        self._info.labels(__version__, info["backend"], providers, info["precision"], info["sampling"]).set(1)

    def engine_ended(self, was_ready: bool) -> None:
        self._memory.set(0)
        if was_ready:
            self._ended.inc()

    def alive(self, resident_bytes: int | None) -> None:
        self._memory.set(resident_bytes or 0)

    def text(self) -> tuple[bytes, str]:
        """(the page, its media type)."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
