"""Uploads of the page, written to the disk as they arrive.

Streamlit's own handler holds each file in memory, for a moment twice. Its checks (of the session, of the token against
forged requests, of the size) come before it reads; what it then reads is replaced: the file goes into the data folder
piece by piece, and Streamlit is given a few bytes that stand for it. They are known to this process alone, so no file
that somebody sends can pass for them. Where the page runs without this, uploads are read from Streamlit's memory.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from revisage import service
from revisage.core import InputError, RevisageError
from revisage.service import InputFile, JobStore

__all__ = ["UploadsToDisk", "take_photo", "take_upload"]

_ADDRESS = re.compile(r"/_stcore/upload_file/[^/]+/[^/]+$")
_TOKEN_BYTES = 64
_MOST_KEPT = 10_000


@dataclass(frozen=True)
class _Upload:
    """A file in the data folder that nobody has asked for yet."""

    part: Path
    name: str
    sha256: str


_KEPT: OrderedDict[bytes, _Upload | RevisageError] = OrderedDict()
"""What the bytes that Streamlit was given stand for: a file, or why there is none."""


@cache
def _store() -> JobStore:
    return service.open_store()


class UploadsToDisk:
    """ASGI middleware: bodies of Streamlit's upload requests go to the disk."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, an upload with something short in the place of its file."""
        if scope["type"] == "http" and scope["method"] == "PUT" and _ADDRESS.search(scope["path"]):
            receive = _Replaced(scope, receive)
        await self._app(scope, receive, send)


class _Replaced:
    """The messages of an upload request, with a stand-in for the file. Nothing is read before somebody asks for it."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive) -> None:
        self._request, self._receive = Request(scope, receive), receive
        self._is_read = False

    async def __call__(self) -> Message:
        """The next message."""
        if self._is_read:
            return await self._receive()
        self._is_read = True
        token = secrets.token_hex(_TOKEN_BYTES // 2).encode()
        try:
            _keep(token, await self._written())
        except RevisageError as error:  # shown on the page, in the words that it has for files that are refused
            _keep(token, error)
            await self._drain()
        except ClientDisconnect:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self._form(token), "more_body": False}

    async def _written(self) -> _Upload:
        async with service.read_form(self._request, _store(), file_field=None) as form:
            if form.file is None:
                raise RevisageError("the browser sent no file; try again")
            file, form.file = form.file, None
            return _Upload(file.part, file.name, file.sha256)

    async def _drain(self) -> None:
        """Let the browser finish sending: it listens for an answer only then."""
        more = True
        while more:
            message = await self._receive()
            more = message["type"] == "http.request" and message.get("more_body", False)

    def _form(self, token: bytes) -> bytes:
        """A multipart form with one file, in the words of the request's own header."""
        kind = self._request.headers.get("content-type", "")
        boundary = re.search(r'boundary="?([^";]+)', kind)
        mark = b"--" + (boundary[1] if boundary else "").encode("latin-1")
        head = b'\r\nContent-Disposition: form-data; name="file"; filename="upload"\r\n\r\n'
        return mark + head + token + b"\r\n" + mark + b"--\r\n"


def _keep(token: bytes, what: _Upload | RevisageError) -> None:
    _KEPT[token] = what
    while len(_KEPT) > _MOST_KEPT:  # of pages that were closed; the store deletes their files
        _KEPT.popitem(last=False)


def take_photo(store: JobStore, stream: BinaryIO, name: str) -> bytes:
    """The content of a photo that Streamlit's chooser was given; nothing of it stays on the disk.

    Raises:
        TooLargeError, InputError, QuotaError, DiskFullError: see :func:`take_upload`.
    """
    file = take_upload(store, stream, name)
    try:
        if file.kind != "image":
            raise InputError(f"{file.name} is {file.format.upper()}, no photo: choose a photo that shows one face")
        return store.local_input(file).read_bytes()
    finally:
        store.delete_input(file.id)


def take_upload(store: JobStore, stream: BinaryIO, name: str) -> InputFile:
    """Add a file to the store that Streamlit's chooser was given.

    Args:
        store: where it goes.
        stream: as the chooser hands it out: the file, or what stands for it.
        name: as the chooser says.

    Raises:
        TooLargeError, InputError, QuotaError, DiskFullError: see :func:`revisage.service.receive`.
    """
    head = stream.read(_TOKEN_BYTES + 1)
    stream.seek(0)
    kept = _KEPT.pop(head, None)
    if isinstance(kept, RevisageError):
        raise kept
    if kept is None:
        return service.receive(store, stream, name)
    return store.add_upload(kept.part, kept.name, kept.sha256)
