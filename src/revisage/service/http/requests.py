"""Requests: multipart forms read as they arrive, and the work in the store that they ask for."""

from __future__ import annotations

import asyncio
import hashlib
import json
import multiprocessing
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from revisage import media, pipeline
from revisage.core import RevisageError, ScanMismatchError, parse_json
from revisage.service.http.schemas import ProblemError
from revisage.service.jobs import (
    LONG_KINDS,
    InputFile,
    Job,
    JobStore,
    Kind,
    NotFoundError,
    Photo,
    check_people,
    check_size,
    check_token,
    checked_config,
    error_status,
    no_room,
)
from revisage.service.settings import MediumTooLargeError, ServiceSettings, check_medium, limit_process

__all__ = [
    "Form",
    "OwnJob",
    "Owner",
    "Store",
    "config_of",
    "digest_of",
    "finished",
    "input_of",
    "kind_of",
    "params_of",
    "photos_of",
    "read_form",
]

_bearer = HTTPBearer(auto_error=False, description="A token of `revisage token add`; not needed on 127.0.0.1.")


async def _store_of(request: Request) -> JobStore:
    store: JobStore = request.app.state.store
    return store


Store = Annotated[JobStore, Depends(_store_of)]


def _owner_of(
    request: Request, store: Store, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> str | None:
    """Name of the token that a request came with; None where none is needed.

    Raises:
        ProblemError: a token is needed and there is none that is good.
    """
    if not request.app.state.needs_token:
        return None
    token = check_token(store, credentials.credentials) if credentials is not None else None
    if token is None:
        raise ProblemError(
            401, "no_token", "send a valid token: Authorization: Bearer …", WWW_Authenticate='Bearer realm="revisage"'
        )
    return token.name


Owner = Annotated[str | None, Depends(_owner_of)]


def _own_job(store: Store, job_id: str, owner: Owner) -> Job:
    """A job of whoever asks, unless it is one of those that are answered at once.

    Raises:
        NotFoundError: there is none of this id, or it is somebody else's.
    """
    job = store.job(job_id)
    if job.lane != "restore" or (owner is not None and job.owner != owner):
        raise NotFoundError("there is no such job; it may have been deleted")
    return job


OwnJob = Annotated[Job, Depends(_own_job)]

_FLUSH = 2**20
_FIELD_BYTES = {"scan": 32 * 2**20}
_SMALL_FIELD = 64 * 2**10
_MOST_PARTS = 80
_PHOTO = "photo"


@dataclass
class Upload:
    """A file that came with a request.

    Attributes:
        part: where it lies complete, for :meth:`JobStore.add_upload`.
        name: at its owner's.
        sha256, size: of its content.
    """

    part: Path
    name: str
    sha256: str = ""
    size: int = 0


@dataclass
class Form:
    """What a request held.

    Attributes:
        fields: small values by name.
        file: the file to work on; None when none came. Whoever takes it over sets it to None.
        photos: of people who are named in the config, as far as they were not taken over.
    """

    fields: dict[str, str] = field(default_factory=dict)
    file: Upload | None = None
    photos: list[Upload] = field(default_factory=list)


_TURNS = asyncio.Semaphore(2)
"""Uploads that write and hash at the same time."""


@asynccontextmanager
async def read_form(
    request: Request, store: JobStore, *, file_field: str | None = "file", photos: bool = False
) -> AsyncIterator[Form]:
    """Read a multipart request. Files that nobody took in are deleted when the block ends.

    Args:
        request: whose body was not read yet.
        store: in whose data folder files are written as they arrive.
        file_field: name of the field that holds the file; None: a file may come in any.
        photos: whether photos of people may come with it, in fields ``photo``.

    Raises:
        ProblemError: it is no multipart request, or malformed.
        TooLargeError, QuotaError, DiskFullError: there is no room for the file.
    """
    boundary = _boundary(request)
    length = int(request.headers.get("content-length") or 0)
    check_size(store.settings, length - sum(_FIELD_BYTES.values()))
    await asyncio.to_thread(store.check_room, length)
    reader = _Reader(store, boundary, file_field, photos)
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
        for upload in (*reader.form.photos, *filter(None, [reader.form.file])):
            upload.part.unlink(missing_ok=True)


async def _flush(reader: _Reader) -> None:
    """Write what is held when it is this upload's turn: many at once would leave no core to those who ask."""
    async with _TURNS:
        await asyncio.to_thread(reader.flush)


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ProblemError(415, "not_multipart", "send multipart/form-data with a file in the field 'file'")
    return options[b"boundary"]


class _Arriving:
    """A file on its way to the disk."""

    def __init__(self, upload: Upload) -> None:
        self.upload, self._digest = upload, hashlib.sha256()
        try:
            self._stream = upload.part.open("xb")
        except OSError as error:
            raise no_room(error) from error

    def write(self, pieces: list[bytes]) -> None:
        try:
            for piece in pieces:
                self._digest.update(piece)
                self._stream.write(piece)
            self._stream.flush()
        except OSError as error:
            raise no_room(error) from error
        self.upload.sha256 = self._digest.hexdigest()

    def close(self) -> None:
        self._stream.close()


class _Reader:
    """Takes the pieces of a request apart."""

    def __init__(self, store: JobStore, boundary: bytes, file_field: str | None, photos: bool) -> None:
        self.form = Form()
        self._store = store
        self._file_field, self._photos = file_field, photos
        self._parts = 0
        self._header = b""
        self._headers: dict[bytes, bytes] = {}
        self._key = ""
        self._in_file = False
        self._value = bytearray()
        self._files: list[tuple[_Arriving, list[bytes]]] = []
        """Each with the pieces of it that are held in memory; the last is the one that comes now."""
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
        return sum(len(piece) for _, pieces in self._files for piece in pieces)

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
        for arriving, pieces in self._files:
            held, pieces[:] = list(pieces), []
            if held or not arriving.upload.sha256:
                arriving.write(held)

    def close(self) -> None:
        """Close the files."""
        for arriving, _ in self._files:
            arriving.close()

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
        self._in_file = b"filename" in options or self._key == self._file_field or self._is_photo
        if self._in_file:
            self._begin_file(options.get(b"filename", b"").decode("utf-8", "replace"))
        elif self._key in self.form.fields:
            raise ProblemError(400, "malformed", f"the field '{self._key}' came twice")

    @property
    def _is_photo(self) -> bool:
        return self._photos and self._key == _PHOTO

    def _begin_file(self, name: str) -> None:
        is_photo = self._is_photo
        if not is_photo and self._file_field not in (None, self._key):
            raise ProblemError(422, "bad_request", f"send the file in the field '{self._file_field}'")
        if not is_photo and self.form.file is not None:
            raise ProblemError(422, "bad_request", "send one file at a time")
        upload = Upload(self._store.folder.new_part(), name)
        if is_photo:
            self.form.photos.append(upload)
        else:
            self.form.file = upload
        self._files.append((_Arriving(upload), []))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            arriving, pieces = self._files[-1]
            arriving.upload.size += end - start
            check_size(self._store.settings, sum(each.upload.size for each, _ in self._files))
            pieces.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > _FIELD_BYTES.get(self._key, _SMALL_FIELD):
            raise ProblemError(413, "too_large", f"the field '{self._key}' is too large")

    def _part_ends(self) -> None:
        if not self._in_file:
            self.form.fields[self._key] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True


_AT_ONCE = asyncio.Semaphore(max(2, os.cpu_count() or 1))
"""Files that are measured at the same time."""

_PATIENCE = 20.0
"""Seconds after which a file is left to the workers."""

_FORKS = "forkserver" in multiprocessing.get_all_start_methods()
_PROCESSES: Any = multiprocessing.get_context("forkserver" if _FORKS else "spawn")
if _FORKS:  # what measures is loaded once, not for each file
    _PROCESSES.set_forkserver_preload([__name__, "revisage.service.http.measuring"])


async def check_limits(store: JobStore, find: Callable[[], Path]) -> None:
    """Refuse a file that says it is larger or longer than allowed. ``find`` gives its path; an OSError leaves it to the
    workers.

    A short-lived process finds out: the server itself opens no medium. Only what the file says of itself is read,
    nothing is decoded. Whatever this cannot tell a worker will: it looks again.

    Raises:
        MediumTooLargeError: it does; in the words that a worker would use.
    """
    async with _AT_ONCE:
        refusal = await asyncio.to_thread(_refusal, store, find)
    if refusal is not None:
        raise MediumTooLargeError(refusal)


def _refusal(store: JobStore, find: Callable[[], Path]) -> str | None:
    """Why a file is refused; None also when nothing could be found out in time."""
    try:
        path = find()
    except OSError:
        return None
    answer, question = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_measure, args=(store.settings, path, question), daemon=True)
    process.start()
    question.close()
    try:
        return answer.recv() if answer.poll(_PATIENCE) else None
    except EOFError:
        return None
    finally:
        answer.close()
        process.kill()
        process.join()


def _measure(settings: ServiceSettings, path: Path, question: Any) -> None:
    """Measure a file, in a process of its own."""
    limit_process(settings, settings.niceness // 2)
    try:
        check_medium(media.read_extent(path), settings)
    except MediumTooLargeError as error:
        question.send(str(error))
    except (RevisageError, OSError, MemoryError):
        question.send(None)
    else:
        question.send(None)


_SWITCHES = ("compare", "playable")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")
_POLL = 0.05


def config_of(form: Form) -> dict[str, Any]:
    """The checked config of a request.

    Raises:
        ConfigError, ModelError: see :func:`revisage.service.jobs.intake.checked_config`.
    """
    return checked_config(_json_object(form, "config"), photos=[photo.name for photo in form.photos])


def _json_object(form: Form, name: str) -> dict[str, Any]:
    try:
        values = parse_json(form.fields.get(name) or "{}")
    except ValueError:
        raise ProblemError(422, "bad_request", f"the field '{name}' is not JSON") from None
    if not isinstance(values, dict):
        raise ProblemError(422, "bad_request", f"the field '{name}' is not a JSON object")
    return values


def kind_of(form: Form) -> Kind:
    """Which kind of job a request asks for.

    Raises:
        ProblemError: there is none of that name.
    """
    kind = form.fields.get("kind") or "restore"
    if kind not in LONG_KINDS:
        raise ProblemError(422, "bad_request", f"the field 'kind' should be one of {', '.join(LONG_KINDS)}")
    return kind


def params_of(form: Form, kind: Kind, config: dict[str, Any]) -> dict[str, Any]:
    """What else a request for a job of this kind, with a checked config, asks for.

    Raises:
        ProblemError: an unknown field, or a value that is not allowed.
        ScanMismatchError: the scan is not one.
        ConfigError: somebody is asked for whom nobody can know.
    """
    own = ("every",) if kind == "analyze" else _SWITCHES
    for name in form.fields.keys() - {"config", "path", "scan", "kind", *own}:
        raise ProblemError(422, "bad_request", f"unknown field '{name}'" + _elsewhere(name, kind))
    params: dict[str, Any] = {"every": _every(form)} if kind == "analyze" else {}
    params |= {name: _switch(form, name) for name in _SWITCHES if name in own}
    if form.fields.get("scan"):
        params["scan"] = _checked_scan(_json_object(form, "scan"))
    if kind == "restore":
        check_people(config, params.get("scan"))
    return params


def _elsewhere(name: str, kind: Kind) -> str:
    return f"; a job of the kind '{kind}' has none" if name in ("every", *_SWITCHES) else ""


def _every(form: Form) -> float:
    try:
        every = float(form.fields.get("every") or 0.2)
    except ValueError:
        every = 0.0
    if not 0 < every <= 3600:
        raise ProblemError(422, "bad_request", "the field 'every' should be seconds, above 0 and up to 3600")
    return every


def _switch(form: Form, name: str) -> bool:
    value = form.fields.get(name, "").lower()
    if value not in (*_TRUE, *_FALSE):
        raise ProblemError(422, "bad_request", f"the field '{name}' should be true or false")
    return value in _TRUE


def _checked_scan(values: dict[str, Any]) -> dict[str, Any]:
    try:
        return pipeline.Scan(**values).model_dump(mode="json")
    except (ValidationError, TypeError):
        raise ScanMismatchError("the field 'scan' is not a scan; POST /v1/scan makes one") from None


def digest_of(form: Form, config: dict[str, Any], params: dict[str, Any]) -> str:
    """Of all that a request asks for: two with one Idempotency-Key must agree in it."""
    sha256 = "" if form.file is None else form.file.sha256
    photos = [[photo.name, photo.sha256] for photo in form.photos]
    parts = [sha256, form.fields.get("path"), form.fields.get("kind") or "restore", config, params, photos]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


async def input_of(store: JobStore, form: Form) -> InputFile:
    """Take in the file of a request, or the one that it names on the server.

    Raises:
        ProblemError: there is neither or both, or the path lies outside the folders that are allowed.
        InputError, QuotaError: see :class:`JobStore`.
        MediumTooLargeError: it says that it is larger or longer than the service allows.
    """
    file = await _taken_in(store, form)
    try:
        await check_limits(store, lambda: store.local_input(file))
    except BaseException:
        await asyncio.to_thread(store.delete_input, file.id)
        raise
    return file


async def photos_of(store: JobStore, form: Form) -> list[Photo]:
    """The photos of people that came with a request; a job takes them over.

    Raises:
        InputError: one is no photo.
        MediumTooLargeError: one says that it is larger than the service allows.
    """
    found = []
    for upload in form.photos:
        found.append(await asyncio.to_thread(store.photo, upload.part, upload.name))
        await check_limits(store, partial(Path, upload.part))
    return found


async def _taken_in(store: JobStore, form: Form) -> InputFile:
    path, upload = form.fields.get("path"), form.file
    if (upload is None) == (path is None):
        raise ProblemError(422, "no_file", "send a file in the field 'file' (or name one in the field 'path')")
    if path is not None:
        return await asyncio.to_thread(lambda: store.add_path(_allowed(store, path)))
    assert upload is not None
    if not upload.size:
        raise ProblemError(422, "no_file", "the file is empty")
    form.file = None
    return await asyncio.to_thread(store.add_upload, upload.part, upload.name, upload.sha256)


def _allowed(store: JobStore, text: str) -> Path:
    """The file that a request names, if it lies in an allowed folder; nothing is said of what lies elsewhere."""
    refused = ProblemError(403, "not_allowed", "this path is not in a folder that the service may read")
    if "\0" in text:
        raise refused
    path = Path(text)
    for folder in store.settings.allowed_folders:
        try:
            resolved = (path if path.is_absolute() else folder / path).resolve(strict=True)
        except (OSError, RuntimeError):
            continue
        if resolved.is_relative_to(folder) and resolved.is_file():
            return resolved
    raise refused


async def finished(request: Request, store: JobStore, job: Job) -> Job:
    """Wait for a quick job; it is cancelled when the client goes away or it takes too long.

    Raises:
        ProblemError: it failed, or took too long.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + store.settings.max_quick_seconds + store.settings.lease_seconds
    try:
        while not job.is_finished:
            if loop.time() > deadline or await request.is_disconnected():
                raise ProblemError(504, "out_of_time", "no worker finished this in time; try again later")
            await asyncio.sleep(_POLL)
            job = await asyncio.to_thread(store.job, job.id)
    except BaseException:
        store.cancel(job.id)
        raise
    if job.status != "done":
        raise _failure(job)
    return job


def _failure(job: Job) -> Exception:
    code = job.error_code or "failed"
    return ProblemError(error_status(code), code, job.error or f"the work was {job.status}")
