"""Multipart requests, read as they arrive: the file goes to the disk and is hashed, never held as a whole."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from revisage.service.jobs import check_size, no_room
from revisage.service.problems import ProblemError
from revisage.service.store import JobStore

__all__ = ["Form", "read_form"]

_FLUSH = 2**20
_FIELD_BYTES = {"scan": 32 * 2**20}
_SMALL_FIELD = 64 * 2**10
_MOST_PARTS = 16


@dataclass
class Form:
    """What a request held.

    Attributes:
        fields: small values by name.
        part: the complete upload, for :meth:`JobStore.add_upload`; None when no file came.
        name: of the file at its owner's.
        sha256, size: of its content.
    """

    fields: dict[str, str] = field(default_factory=dict)
    part: Path | None = None
    name: str = ""
    sha256: str = ""
    size: int = 0


_TURNS = asyncio.Semaphore(2)
"""Uploads that write and hash at the same time."""


@asynccontextmanager
async def read_form(request: Request, store: JobStore) -> AsyncIterator[Form]:
    """Read a multipart request. A file that nobody took in is deleted when the block ends.

    Raises:
        ProblemError: it is no multipart request, or malformed.
        TooLargeError, QuotaError, DiskFullError: there is no room for the file.
    """
    boundary = _boundary(request)
    length = int(request.headers.get("content-length") or 0)
    check_size(store.settings, length - sum(_FIELD_BYTES.values()))
    await asyncio.to_thread(store.check_room, length)
    reader = _Reader(store, boundary)
    try:
        async for chunk in request.stream():
            reader.feed(chunk)
            if reader.waiting >= _FLUSH:
                await _flush(reader)
        reader.finish()
        await _flush(reader)
        reader.close()
        yield reader.form
    finally:
        reader.close()
        if reader.form.part is not None:
            reader.form.part.unlink(missing_ok=True)


async def _flush(reader: _Reader) -> None:
    """Write what is held when it is this upload's turn: many at once would leave no core to those who ask."""
    async with _TURNS:
        await asyncio.to_thread(reader.flush)


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ProblemError(415, "not_multipart", "send multipart/form-data with a file in the field 'file'")
    return options[b"boundary"]


class _Reader:
    """Takes the pieces of a request apart."""

    def __init__(self, store: JobStore, boundary: bytes) -> None:
        self.form = Form()
        self._store = store
        self._parts = 0
        self._header = b""
        self._headers: dict[bytes, bytes] = {}
        self._key = ""
        self._value = bytearray()
        self._pieces: list[bytes] = []
        self._stream: Any = None
        self._digest = hashlib.sha256()
        self._ended = False
        callbacks: Any = {
            "on_part_begin": self._part_begins,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)
        self._value_of_header = b""

    @property
    def waiting(self) -> int:
        """Bytes that are held in memory."""
        return sum(map(len, self._pieces))

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the request."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise ProblemError(400, "malformed", "the multipart request is malformed") from None

    def finish(self) -> None:
        """Check that the request was complete."""
        if not self._ended:
            raise ProblemError(400, "malformed", "the multipart request ends too early")

    def flush(self) -> None:
        """Write what is held. May wait for the disk: not for the event loop."""
        pieces, self._pieces = self._pieces, []
        if self._stream is None:
            return
        try:
            for piece in pieces:
                self._digest.update(piece)
                self._stream.write(piece)
            self._stream.flush()
        except OSError as error:
            raise no_room(error) from error
        self.form.sha256 = self._digest.hexdigest()

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise ProblemError(400, "malformed", "the request has too many parts")
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value_of_header += data[start:end]

    def _header_ends(self) -> None:
        self._headers[self._header.lower()] = self._value_of_header
        self._header = self._value_of_header = b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._key = options.get(b"name", b"").decode("utf-8", "replace")
        self._value = bytearray()
        if b"filename" in options or self._key == "file":
            self._begin_file(options.get(b"filename", b"").decode("utf-8", "replace"))
        elif self._key in self.form.fields:
            raise ProblemError(400, "malformed", f"the field '{self._key}' came twice")

    def _begin_file(self, name: str) -> None:
        if self._key != "file":
            raise ProblemError(422, "bad_request", "send the file in the field 'file'")
        if self._stream is not None:
            raise ProblemError(422, "bad_request", "send one file at a time")
        self.form.part, self.form.name = self._store.folder.new_part(), name
        try:
            self._stream = self.form.part.open("xb")
        except OSError as error:
            raise no_room(error) from error

    def _in_file(self) -> bool:
        return self._key == "file"

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file():
            self.form.size += end - start
            check_size(self._store.settings, self.form.size)
            self._pieces.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > _FIELD_BYTES.get(self._key, _SMALL_FIELD):
            raise ProblemError(413, "too_large", f"the field '{self._key}' is too large")

    def _part_ends(self) -> None:
        if not self._in_file():
            self.form.fields[self._key] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True
