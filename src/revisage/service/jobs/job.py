"""Jobs, files and workers as the job store gives them out, and what may be told of an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

from revisage.core import (
    CancelledError,
    ConfigError,
    DeviceError,
    DiskFullError,
    InputError,
    MissingExtraError,
    ModelError,
    OutputError,
    ProcessingError,
    RevisageError,
    ScanMismatchError,
    UserError,
)
from revisage.service.settings import MediumTooLargeError

__all__ = [
    "ACTIVE",
    "FINISHED",
    "LONG_KINDS",
    "QUICK_KINDS",
    "BusyError",
    "InputFile",
    "Job",
    "JobProgress",
    "Kind",
    "Lane",
    "Lease",
    "NotFoundError",
    "OutOfTimeError",
    "Photo",
    "QuotaError",
    "ReusedKeyError",
    "Status",
    "StillAtWorkError",
    "Token",
    "TooLargeError",
    "WorkerRow",
    "error_code",
    "iso",
    "public_error",
    "public_text",
    "public_values",
]

Status = Literal["queued", "running", "done", "failed", "cancelled"]
Kind = Literal["restore", "analyze", "look", "scan", "preview", "image", "verify"]
Lane = Literal["restore", "quick"]

ACTIVE: tuple[Status, ...] = ("queued", "running")
FINISHED: tuple[Status, ...] = ("done", "failed", "cancelled")
LONG_KINDS: tuple[Kind, ...] = ("restore", "analyze")
"""Kinds of work on a whole file, which somebody asks for and comes back to."""
QUICK_KINDS: tuple[Kind, ...] = tuple(kind for kind in get_args(Kind) if kind not in LONG_KINDS)
"""Kinds that somebody waits for. A worker of their own runs them, so that none waits behind a film."""


def iso(moment: float | None) -> str | None:
    """A time as ISO 8601 in UTC, with milliseconds."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class InputFile:
    """A file to work on.

    Attributes:
        id: hexadecimal, made by the store.
        name: what its owner calls it; for display, never a path.
        format: what its first bytes say: ``mp4``, ``mkv``, ``gif``, ``jpeg`` …; also the ending of its stored name.
        kind: ``video``, ``animation`` or ``image``, as far as the first bytes tell.
        bytes: its size.
        sha256: of its content; empty for a file that is named by path and was not read.
        path: where it lies; None for an upload, which lies in the data folder.
        created: when it was added.
    """

    id: str
    name: str
    format: str
    kind: str
    bytes: int
    sha256: str
    path: str | None
    created: float


@dataclass(frozen=True)
class Photo:
    """A photo of somebody who has a name in a job's config, before a job has it.

    Attributes:
        name: what its owner calls it, and the config.
        format: what its first bytes say.
        bytes: its size.
        part: where it lies complete.
    """

    name: str
    format: str
    bytes: int
    part: Path


Stage = Literal["waiting", "scan", "people", "restore", "finish", "done"]


@dataclass(frozen=True)
class JobProgress:
    """How far a job is.

    Attributes:
        fraction: 0 to 1 over all stages; never falls while one worker is at it.
        stage: ``waiting``, ``scan``, ``people``, ``restore``, ``finish`` or ``done``.
        done, total: frames of this stage; total is None while unknown.
        faces: met so far in this stage.
        fps: frames per second in this stage.
        seconds_left: estimate for the whole job; None while there is none.
    """

    fraction: float = 0.0
    stage: Stage = "waiting"
    done: int = 0
    total: int | None = None
    faces: int = 0
    fps: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        id: hexadecimal, made by the store.
        kind: ``restore``, ``analyze``, or one of the quick kinds.
        lane: whose workers take it. A file is kept for the jobs of the lane ``restore``.
        status: ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
        input: the file it works on.
        config: the RestoreConfig fields that were given, as JSON values.
        params: what else the kind needs (time of a preview, …).
        progress: how far it is.
        error: one line for people when it failed, with no path in it.
        error_code: a word for programs: ``bad_input``, ``too_large``, ``no_memory``, ``disk_full``, …
        result: what came of it: names of files in its folder and numbers, as JSON values.
        owner: name of the token that asked for it; None without tokens.
        attempts: how often a worker began with it.
        cancel_requested: somebody asked to stop it.
        stalled: it runs, but its worker has been silent for longer than a lease; another will take it up.
        created, started, finished: times; None while not reached.
        version: counts the changes of this row.
    """

    id: str
    kind: Kind
    lane: Lane
    status: Status
    input: InputFile
    config: dict[str, Any]
    params: dict[str, Any]
    progress: JobProgress
    error: str | None
    error_code: str | None
    result: dict[str, Any]
    owner: str | None
    attempts: int
    cancel_requested: bool
    stalled: bool
    created: float
    started: float | None
    finished: float | None
    version: int

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in FINISHED


@dataclass(frozen=True)
class Lease:
    """The right to work on a job. Whoever lost it can change nothing any more.

    Attributes:
        job: as it was when the lease was given.
        token: secret of this lease.
        attempt: number of this attempt, from 1; rises with each lease of the job.
        until: when it ends unless it is renewed.
    """

    job: Job
    token: str = field(repr=False)
    attempt: int
    until: float


@dataclass(frozen=True)
class WorkerRow:
    """A worker process that has been heard of.

    Attributes:
        id: of the process, made at its start.
        host, pid: where it runs.
        lane: ``restore`` or ``quick``.
        job: id of the job it is at.
        started, seen: when it began and was last heard of.
    """

    id: str
    host: str
    pid: int
    lane: Lane
    job: str | None
    started: float
    seen: float


@dataclass(frozen=True)
class Token:
    """A bearer token, without its secret."""

    id: str
    name: str
    created: float
    revoked: float | None


class NotFoundError(UserError):
    """There is no such job or file in the store (any more)."""


class BusyError(UserError):
    """As many jobs as allowed are queued or running."""


class QuotaError(OutputError):
    """Uploads and results take as much space as they may."""


class StillAtWorkError(UserError):
    """The job is not finished."""


class ReusedKeyError(UserError):
    """An idempotency key came again with another request."""


class OutOfTimeError(ProcessingError):
    """A job takes longer than is allowed."""


class TooLargeError(ConfigError):
    """An upload is larger, or a medium longer or wider, than the service allows."""


_ERRORS: tuple[tuple[type[BaseException], str, int], ...] = (
    (NotFoundError, "not_found", 404),
    (BusyError, "busy", 429),
    (StillAtWorkError, "conflict", 409),
    (ReusedKeyError, "reused_key", 422),
    (TooLargeError, "too_large", 413),
    (MediumTooLargeError, "too_large", 413),
    (QuotaError, "no_room", 507),
    (ScanMismatchError, "bad_scan", 422),
    (InputError, "bad_input", 415),
    (DiskFullError, "disk_full", 507),
    (OutputError, "cannot_write", 500),
    (ConfigError, "bad_config", 422),
    (ModelError, "no_model", 422),
    (DeviceError, "no_device", 500),
    (MissingExtraError, "not_installed", 500),
    (CancelledError, "cancelled", 503),
    (OutOfTimeError, "out_of_time", 504),
    (ProcessingError, "failed", 500),
    (MemoryError, "no_memory", 413),
)
"""A word for programs and the HTTP status of each kind of error, the special ones before those they descend from."""

_ABSOLUTE = re.compile(r"(?<![\w./:…])(?:[A-Za-z]:)?[\\/](?:[^\s\\/:'\",;]+[\\/])+([^\s\\/:'\",;]*)")


def error_code(error: BaseException) -> str:
    """A word for programs."""
    return next((code for kind, code, _ in _ERRORS if isinstance(error, kind)), "internal")


def error_status(error: BaseException | str) -> int:
    """The HTTP status of an error, or of its word."""
    if isinstance(error, str):
        return next((status for _, code, status in _ERRORS if code == error), 500)
    return next((status for kind, _, status in _ERRORS if isinstance(error, kind)), 500)


def public_text(text: str, names: Mapping[Path, str]) -> str:
    """A message in one line in which known paths are replaced by ``names`` and others cut to their last part."""
    line = " ".join(text.split())
    for path, name in sorted(names.items(), key=lambda item: -len(str(item[0]))):
        line = line.replace(str(path), name)
    return _ABSOLUTE.sub(r"\1", line)


def public_error(error: BaseException, names: Mapping[Path, str]) -> str:
    """What to say about an error: its own message if it was raised on purpose."""
    if isinstance(error, RevisageError):
        return public_text(str(error), names)
    if isinstance(error, MemoryError):
        return "the work needs more memory than is allowed; try a smaller upscale or a smaller file"
    return f"an unexpected error stopped the work ({type(error).__name__})"


def public_values(value: Any, names: Mapping[Path, str]) -> Any:
    """JSON values with every text treated like :func:`public_text`."""
    if isinstance(value, str):
        return public_text(value, names) if ("/" in value or "\\" in value) else value
    if isinstance(value, list):
        return [public_values(item, names) for item in value]
    if isinstance(value, dict):
        return {key: public_values(item, names) for key, item in value.items()}
    return value
