"""The HTTP service: a FastAPI app around a job store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import sqlalchemy as sa
from fastapi import FastAPI, Response

from revisage._version import __version__
from revisage.service.metrics import Metrics, Watched
from revisage.service.problems import ProblemError, add_handlers
from revisage.service.routes import router
from revisage.service.schemas import Health
from revisage.service.security import Guard, Owner
from revisage.service.store import JobStore
from revisage.service.supervise import Supervisor

__all__ = ["create_app"]

_THREADS = 40
_ABOUT = """Restore the faces in videos, animated images and photos.

What comes out is a plausible restoration, not evidence of what somebody looked like.
"""


def create_app(store: JobStore, *, needs_token: bool = False, supervisor: Supervisor | None = None) -> FastAPI:
    """The service.

    Args:
        store: its jobs.
        needs_token: every request must come with a bearer token; otherwise only this machine is answered.
        supervisor: of worker processes, started and stopped with the app.
    """

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        # The default is a few threads on a small machine: uploads that wait for the disk would hold up status calls.
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
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    metrics = Metrics(store)
    app.state.store, app.state.needs_token = store, needs_token
    add_handlers(app)
    app.include_router(router)
    _add_health(app, store, metrics)
    app.add_middleware(Watched, metrics=metrics)
    app.add_middleware(Guard, needs_token=needs_token)
    return app


def _add_health(app: FastAPI, store: JobStore, metrics: Metrics) -> None:
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
