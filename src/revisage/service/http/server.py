"""The HTTP service: its app, who is let in, metrics, and uvicorn to run it."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from revisage._version import __version__
from revisage.core import ConfigError, OutputError
from revisage.service.http.requests import Owner
from revisage.service.http.routes import router
from revisage.service.http.schemas import Health, ProblemError, add_handlers, problem_response
from revisage.service.jobs import JobStore, list_tokens
from revisage.service.settings import ServiceSettings, set_up_log
from revisage.service.work import Supervisor

__all__ = ["create_app", "run_server"]

_ABOUT = """Restore the faces in videos, animated images and photos.

What comes out is a plausible restoration, not evidence of what somebody looked like.
"""

_THREADS = 40
"""The default is a few on a small machine: uploads that wait for the disk would hold up status calls."""

_CLOSE_SECONDS = 5
_KEEP_ALIVE_SECONDS = 75
"""Longer than clients and proxies keep idle connections, so that they close first."""

_PREFIX = re.compile(r"(/[\w.~-]+)+", re.ASCII)

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}


def create_app(
    store: JobStore, *, needs_token: bool = False, supervisor: Supervisor | None = None, root_path: str = ""
) -> FastAPI:
    """The service.

    Args:
        store: its jobs.
        needs_token: every request must come with a bearer token; otherwise only this machine is answered.
        supervisor: of worker processes, started and stopped with the app.
        root_path: the path under which a proxy has put the service.
    """

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "revisage"))
        if supervisor is not None:
            supervisor.start()
        yield
        if supervisor is not None:
            await asyncio.to_thread(supervisor.stop)
        store.close()

    app = FastAPI(
        title="revisage",
        version=__version__,
        description=_ABOUT,
        lifespan=life,
        root_path=root_path,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    metrics = _Metrics(store)
    app.state.store, app.state.needs_token = store, needs_token
    add_handlers(app)
    app.include_router(router)
    _add_health(app, store, metrics)
    app.add_middleware(_Watched, metrics=metrics)
    app.add_middleware(_Guard, needs_token=needs_token)
    return app


def _add_health(app: FastAPI, store: JobStore, metrics: _Metrics) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> Health:
        """Whether the process answers."""
        return Health(status="ok", version=__version__, workers=None)

    @app.get("/readyz", tags=["health"])
    async def readyz() -> Health:
        """Whether jobs can be taken in: the job store answers and the data folder can be written. Says also how many
        workers there are; jobs wait while there is none."""
        return Health(status="ok", version=__version__, workers=await asyncio.to_thread(_ready, store))

    @app.get("/metrics", response_class=Response, tags=["health"])
    async def prometheus(_owner: Owner) -> Response:
        """Metrics in Prometheus' text format."""
        return Response(await asyncio.to_thread(metrics.text), media_type="text/plain; version=0.0.4; charset=utf-8")


def _ready(store: JobStore) -> dict[str, int]:
    try:
        lanes = [row.lane for row in store.workers()]
    except sa.exc.SQLAlchemyError:
        raise ProblemError(503, "not_ready", "the job store does not answer") from None
    if not os.access(store.folder.base / "uploads", os.W_OK):
        raise ProblemError(503, "not_ready", "the data folder cannot be written")
    return {lane: lanes.count(lane) for lane in ("restore", "quick")}


def run_server(
    settings: ServiceSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    needs_token: bool = False,
    root_path: str = "",
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: of the job store.
        host, port: to listen at. Any other host than this machine alone needs a token in the store.
        workers: worker processes for restorations, with one more for quick jobs; 0: others see to that.
        needs_token: ask for a token also on this machine alone.
        root_path: the path under which a proxy has put the service, such as ``/revisage``. A proxy on this machine
            may tell it in ``X-Forwarded-Prefix`` instead.

    Raises:
        ConfigError: the root path is none.
        ConfigError: the host is open to others and there is no token.
        OutputError: the port is taken.
    """
    root_path = root_path.rstrip("/")
    if root_path and not _PREFIX.fullmatch(root_path):
        raise ConfigError(f"--root-path cannot be '{root_path}'; write a path such as /revisage")
    os.umask(0o077)
    set_up_log()
    store = JobStore(settings)
    needs_token = needs_token or not _is_loopback(host)
    if needs_token and all(token.revoked is not None for token in list_tokens(store)):
        raise ConfigError(f"refusing to listen on {host} without a token; make one with: revisage token add NAME")
    app = create_app(store, needs_token=needs_token, supervisor=Supervisor(store, workers), root_path=root_path)
    listener = _listener(host, port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
    )
    print(f"revisage serves at http://{_shown(host)}:{listener.getsockname()[1]}", flush=True)  # noqa: T201
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any that is free.

    Raises:
        OutputError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise OutputError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from None
    listener.listen(1024)
    listener.set_inheritable(False)
    return listener


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _is_loopback(host: str) -> bool:
    """Whether a name or address stands for this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class _Guard:
    """Adds security headers to each answer. A service without tokens also refuses what a web page elsewhere could
    make a browser on this machine send: a foreign Origin, or a Host that is not this machine."""

    def __init__(self, app: ASGIApp, *, needs_token: bool) -> None:
        self._app = app
        self._needs_token = needs_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if not self._needs_token and _is_foreign(Headers(scope=scope)):
            refusal = problem_response(403, "foreign", "this service answers to this machine only")
            await refusal(scope, receive, send_guarded)
            return
        await self._app(_under_prefix(scope), receive, send_guarded)


def _under_prefix(scope: Scope) -> Scope:
    """The request with the path that a proxy on this machine has put the service under, where it tells one: links,
    Location and the servers of the description begin with it."""
    told = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
    peer = (scope.get("client") or ("", 0))[0]
    return {**scope, "root_path": told} if _PREFIX.fullmatch(told) and _is_loopback(peer) else scope


def _is_foreign(headers: Headers) -> bool:
    host = urlsplit(f"//{headers.get('host', '')}")
    if not _is_loopback(host.hostname or ""):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != host.netloc


class _Metrics:
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


class _Watched:
    """Counts and times requests by route, never by address: addresses hold ids."""

    def __init__(self, app: ASGIApp, *, metrics: _Metrics) -> None:
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
