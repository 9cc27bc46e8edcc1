"""Films of the page come from the disk, in the ranges that a player asks for."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("streamlit", reason="the extra `ui` is not installed")

from starlette.applications import Starlette
from starlette.routing import Route

from revisage import service
from revisage.service import JobStore
from revisage.ui import film_ranges

FILM = b"\0\0\0\x18ftypisom" + bytes(range(256)) * 100


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobStore]:
    opened = service.open_store(data_dir=tmp_path / "data")
    monkeypatch.setattr(film_ranges, "_store", lambda: opened)
    yield opened
    opened.close()


def asked(*requests: tuple[str, str]) -> list[httpx.Response]:
    """The answers to an address and a range each."""
    app = Starlette(routes=[Route(film_ranges.FILM_PATH, film_ranges.send_film)])

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page") as browser:
            return [await browser.get(address, headers={"Range": part} if part else {}) for address, part in requests]

    return asyncio.run(ask())


def test_a_film_is_sent_in_ranges(store: JobStore) -> None:
    file = service.receive(store, io.BytesIO(FILM), "film.mp4")
    job = service.restore(store, file.id, {})
    whole, part = asked((f"/films/{job.id}/original", ""), (f"/films/{job.id}/original", "bytes=100-199"))
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, FILM, "video/mp4")
    assert (part.status_code, part.content) == (206, FILM[100:200])


def test_what_is_not_there_is_not_sent(store: JobStore) -> None:
    file = service.receive(store, io.BytesIO(FILM), "film.mp4")
    job = service.restore(store, file.id, {})
    addresses = (f"/films/{job.id}/restored", f"/films/{file.id}/original", "/films/..%2f..%2fjobs.sqlite/original")
    assert [answer.status_code for answer in asked(*((address, "") for address in addresses))] == [404] * 3
