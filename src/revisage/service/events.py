"""Progress as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request

from revisage.service.errors import NotFoundError
from revisage.service.schemas import job_body
from revisage.service.store import JobStore
from revisage.service.values import Job

__all__ = ["event_stream"]

_LOOK = 0.5
_COMMENT = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy takes the stream for dead."""


async def event_stream(request: Request, store: JobStore, job: Job) -> AsyncIterator[str]:
    """An event for each change of a job until it is finished; the last is named like its status."""
    told, silent = -1, 0.0
    yield "retry: 2000\n\n"
    while True:
        if job.version != told:
            told, silent = job.version, 0.0
            name = job.status if job.is_finished else "progress"
            yield f"id: {job.version}\nevent: {name}\ndata: {job_body(job).model_dump_json()}\n\n"
        if job.is_finished or await request.is_disconnected():
            return
        await asyncio.sleep(_LOOK)
        silent += _LOOK
        if silent >= _COMMENT:
            silent = 0.0
            yield ": still here\n\n"
        try:
            job = await asyncio.to_thread(store.job, job.id)
        except NotFoundError:
            yield "event: deleted\ndata: {}\n\n"
            return
