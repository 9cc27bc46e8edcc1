"""Uploads of the page lie on the disk as they arrive, and Streamlit gets a few bytes for each."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from revisage.core import InputError

pytest.importorskip("streamlit", reason="the extra `ui` is not installed")

from starlette.requests import Request
from starlette.responses import PlainTextResponse

from revisage import service
from revisage.service import JobStore
from revisage.service.jobs import TooLargeError
from revisage.ui import uploads

PICTURE = b"\xff\xd8\xff\xe0" + bytes(3_000_000)
"""What begins as a JPEG."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobStore]:
    opened = service.open_store(data_dir=tmp_path / "data", max_upload_bytes=5_000_000)
    monkeypatch.setattr(uploads, "_store", lambda: opened)
    yield opened
    opened.close()


def form(content: bytes, name: str = "a \u00fc.jpg") -> bytes:
    head = f'--mark\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
    return head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + content + b"\r\n--mark--\r\n"


def put(
    inner: Callable[..., Awaitable[None]],
    body: bytes,
    *,
    cut: int | None = None,
    path: str = "/_stcore/upload_file/a/b",
) -> list[dict[str, Any]]:
    """What the app sends for a request in pieces of 64 KiB; cut off after so many bytes."""
    pieces = [body[at : at + 2**16] for at in range(0, len(body if cut is None else body[:cut]), 2**16)]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not pieces:
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces) or cut is not None}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b'multipart/form-data; boundary="mark"'), (b"content-length", b"%d" % len(body))]
    scope = {"type": "http", "method": "PUT", "path": path, "query_string": b"", "headers": headers}
    asyncio.run(uploads.UploadsToDisk(inner)(scope, receive, send))  # type: ignore[arg-type]
    return sent


def keeper(into: list[bytes]) -> Callable[..., Awaitable[None]]:
    """An app that holds uploads in memory, as Streamlit does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with Request(scope, receive).form() as values:
            for value in values.values():
                assert not isinstance(value, str)
                into.append(await value.read())
        await PlainTextResponse("kept")(scope, receive, send)

    return app


def parts(store: JobStore) -> list[Path]:
    return list((store.folder.base / "uploads").iterdir())


def test_an_upload_goes_to_the_disk_and_a_few_bytes_to_streamlit(store: JobStore) -> None:
    held: list[bytes] = []
    assert put(keeper(held), form(PICTURE))[0]["status"] == 200
    assert [len(value) for value in held] == [64]
    assert [part.read_bytes() for part in parts(store)] == [PICTURE]
    file = uploads.take_upload(store, io.BytesIO(held[0]), "upload")
    assert (file.name, file.format, file.bytes) == ("a ü.jpg", "jpg", len(PICTURE))
    assert store.input_path(file).read_bytes() == PICTURE
    assert parts(store) == []
    with pytest.raises(InputError):  # what stood for it once is a file like any other now
        uploads.take_upload(store, io.BytesIO(held[0]), "upload")


def test_what_streamlit_refuses_is_not_read(store: JobStore) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("no", 403)(scope, receive, send)

    assert put(refuse, form(PICTURE))[0]["status"] == 403
    assert parts(store) == []


def test_a_file_that_is_too_large_is_said_on_the_page_and_leaves_nothing(store: JobStore) -> None:
    held: list[bytes] = []
    assert put(keeper(held), form(PICTURE * 2))[0]["status"] == 200
    assert parts(store) == []
    with pytest.raises(TooLargeError, match="larger than 5 MB"):
        uploads.take_upload(store, io.BytesIO(held[0]), "upload")


def test_an_upload_that_breaks_off_leaves_nothing(store: JobStore) -> None:
    held: list[bytes] = []
    with pytest.raises(Exception, match=r"^$"):  # Starlette's ClientDisconnect
        put(keeper(held), form(PICTURE), cut=2_000_000)
    assert (held, parts(store)) == ([], [])


def test_a_form_without_a_file_is_said(store: JobStore) -> None:
    held: list[bytes] = []
    put(keeper(held), b'--mark\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--mark--\r\n')
    with pytest.raises(Exception, match="sent no file"):
        uploads.take_upload(store, io.BytesIO(held[0]), "upload")


def test_other_requests_pass_as_they_are(store: JobStore) -> None:
    held: list[bytes] = []
    put(keeper(held), form(PICTURE), path="/_stcore/other/a/b")
    assert held == [PICTURE]


def test_without_the_server_uploads_are_read_from_the_chooser(store: JobStore) -> None:
    file = uploads.take_upload(store, io.BytesIO(PICTURE), "b.jpg")
    assert (file.name, store.input_path(file).read_bytes()) == ("b.jpg", PICTURE)
