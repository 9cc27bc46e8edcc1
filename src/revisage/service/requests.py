"""From the fields of a request to work in the store."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from fastapi import Request
from pydantic import ValidationError

from revisage.core import ScanMismatchError
from revisage.service.errors import NotFoundError
from revisage.service.jobs import checked_config
from revisage.service.measuring import check_limits
from revisage.service.problems import ProblemError
from revisage.service.store import JobStore
from revisage.service.upload import Form
from revisage.service.values import InputFile, Job

__all__ = ["config_of", "digest_of", "finished", "input_of", "own_job", "params_of"]

_SWITCHES = ("compare", "playable")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")
_POLL = 0.05


def config_of(form: Form) -> dict[str, Any]:
    """The checked config of a request.

    Raises:
        ConfigError, ModelError: see :func:`revisage.service.jobs.checked_config`.
    """
    values = _json_object(form, "config")
    return checked_config(values)


def _json_object(form: Form, name: str) -> dict[str, Any]:
    try:
        values = json.loads(form.fields.get(name) or "{}")
    except ValueError:
        raise ProblemError(422, "bad_request", f"the field '{name}' is not JSON") from None
    if not isinstance(values, dict):
        raise ProblemError(422, "bad_request", f"the field '{name}' is not a JSON object")
    return values


def params_of(form: Form) -> dict[str, Any]:
    """What else a restore request asks for.

    Raises:
        ProblemError: an unknown field, or a value that is not allowed.
        ScanMismatchError: the scan is not one.
    """
    for name in form.fields.keys() - {"config", "path", "scan", *_SWITCHES}:
        raise ProblemError(422, "bad_request", f"unknown field '{name}'")
    params: dict[str, Any] = {name: _switch(form, name) for name in _SWITCHES}
    if form.fields.get("scan"):
        params["scan"] = _checked_scan(_json_object(form, "scan"))
    return params


def _switch(form: Form, name: str) -> bool:
    value = form.fields.get(name, "").lower()
    if value not in (*_TRUE, *_FALSE):
        raise ProblemError(422, "bad_request", f"the field '{name}' should be true or false")
    return value in _TRUE


def _checked_scan(values: dict[str, Any]) -> dict[str, Any]:
    from revisage.pipeline import Scan

    try:
        return Scan(**values).model_dump(mode="json")
    except (ValidationError, TypeError):
        raise ScanMismatchError("the field 'scan' is not a scan; POST /v1/scan makes one") from None


def digest_of(form: Form, config: dict[str, Any], params: dict[str, Any]) -> str:
    """Of all that a request asks for: two with one Idempotency-Key must agree in it."""
    parts = [form.sha256, form.fields.get("path"), config, params]
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
        await check_limits(store, file)
    except BaseException:
        await asyncio.to_thread(store.delete_input, file.id)
        raise
    return file


async def _taken_in(store: JobStore, form: Form) -> InputFile:
    path = form.fields.get("path")
    if (form.part is None) == (path is None):
        raise ProblemError(422, "no_file", "send a file in the field 'file' (or name one in the field 'path')")
    if path is not None:
        return await asyncio.to_thread(lambda: store.add_path(_allowed(store, path)))
    part, form.part = form.part, None
    assert part is not None
    if not form.size:
        part.unlink(missing_ok=True)
        raise ProblemError(422, "no_file", "the file is empty")
    return await asyncio.to_thread(store.add_upload, part, form.name, form.sha256)


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


async def own_job(store: JobStore, job_id: str, owner: str | None) -> Job:
    """A restore job of whoever asks.

    Raises:
        NotFoundError: there is none of this id, or it is somebody else's.
    """
    job = await asyncio.to_thread(store.job, job_id)
    if job.kind != "restore" or (owner is not None and job.owner != owner):
        raise NotFoundError("there is no such job; it may have been deleted")
    return job


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
    status = {"bad_input": 415, "too_large": 413, "bad_config": 422, "no_model": 422, "no_memory": 413}
    status |= {"disk_full": 507, "out_of_time": 504, "bad_scan": 422, "cancelled": 503}
    return ProblemError(status.get(code, 500), code, job.error or f"the work was {job.status}")
