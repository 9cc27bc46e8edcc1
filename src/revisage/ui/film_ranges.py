"""Films that the page plays: sent from the disk in ranges, where Streamlit would hold each whole in memory."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin

import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from revisage import media, service
from revisage.service import Job, JobStore

__all__ = ["FILM_PATH", "film_address", "film_file", "send_film"]

Side = Literal["original", "restored"]
FILM_PATH = "/films/{job_id}/{side}"


@cache
def _store() -> JobStore:
    return service.open_store()


def film_file(store: JobStore, job: Job, side: Side) -> Path | None:
    """What browsers play of a job: the input or a copy of it, the result or a copy; None while there is no result."""
    if side == "original":  # there is no copy of an input that browsers play as it is
        return service.result_path(store, job, "playable_input") or store.input_path(job.input)
    return service.result_path(store, job, "playable") or service.result_path(store, job, "output")


def film_address(job: Job, side: Side) -> str:
    """Where the browser finds it; who knows a job's id may see it, as with the page's own address."""
    return urljoin(st.context.url or "", FILM_PATH.lstrip("/").format(job_id=job.id, side=side))


async def send_film(request: Request) -> Response:
    """A film, or the range of it that is asked for."""
    return await asyncio.to_thread(_answer, request.path_params["job_id"], request.path_params["side"])


def _answer(job_id: str, side: str) -> Response:
    try:
        path = film_file(_store(), _store().job(job_id), "original" if side == "original" else "restored")
    except service.NotFoundError:
        path = None
    if path is None or not path.is_file():
        return PlainTextResponse("there is no such film", 404)
    return FileResponse(path, media_type=media.media_type(path.suffix), headers={"X-Content-Type-Options": "nosniff"})
