"""Prometheus metrics: requests of this process, jobs and workers of the store."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from revisage.service.store import JobStore

__all__ = ["Metrics", "Watched"]


class Metrics:
    """The metrics of one app; each app has its own."""

    def __init__(self, store: JobStore) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("revisage_http_requests_total", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "revisage_http_request_seconds",
            "Seconds until a request was answered (without event streams).",
            ("method", "route"),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
            registry=self.registry,
        )
        self.open = Gauge("revisage_http_open_requests", "Requests being answered.", registry=self.registry)
        self.registry.register(_Stored(store))

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)


class _Stored(Collector):
    """What only the store knows, asked when somebody looks."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing needs to be asked at the registration."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Jobs, workers and bytes as they are now."""
        jobs = GaugeMetricFamily("revisage_jobs", "Jobs in the store.", labels=("kind", "status"))
        for (kind, status), count in self._store.counts().items():
            jobs.add_metric((kind, status), count)
        yield jobs
        workers = GaugeMetricFamily("revisage_workers", "Workers heard of lately.", labels=("lane", "state"))
        alive = [(row.lane, "idle" if row.job is None else "busy") for row in self._store.workers()]
        for key in sorted(set(alive)):
            workers.add_metric(key, alive.count(key))
        yield workers
        yield GaugeMetricFamily("revisage_stored_bytes", "Uploads and results.", value=self._store.used_bytes())


class Watched:
    """Counts and times requests by route, never by address: addresses hold ids."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 500, time.perf_counter()

        async def send_watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.open.inc()
        try:
            await self._app(scope, receive, send_watched)
        finally:
            self._metrics.open.dec()
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "DELETE") else "other"
            self._metrics.requests.labels(method, route, str(status)).inc()
            if not route.endswith("/events"):
                self._metrics.seconds.labels(method, route).observe(time.perf_counter() - began)
