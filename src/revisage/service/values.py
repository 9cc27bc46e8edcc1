"""Jobs, files and workers as the job store gives them out: frozen values, times in seconds since 1970 (UTC)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, get_args

__all__ = [
    "ACTIVE",
    "FINISHED",
    "QUICK_KINDS",
    "InputFile",
    "Job",
    "JobProgress",
    "Kind",
    "Lane",
    "Lease",
    "Status",
    "Token",
    "WorkerRow",
    "iso",
]

Status = Literal["queued", "running", "done", "failed", "cancelled"]
Kind = Literal["restore", "look", "scan", "preview", "image"]
Lane = Literal["restore", "quick"]

ACTIVE: tuple[Status, ...] = ("queued", "running")
FINISHED: tuple[Status, ...] = ("done", "failed", "cancelled")
QUICK_KINDS: tuple[Kind, ...] = tuple(kind for kind in get_args(Kind) if kind != "restore")
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
class JobProgress:
    """How far a job is.

    Attributes:
        fraction: 0 to 1 over all stages; never falls while one worker is at it.
        stage: ``waiting``, ``scan``, ``restore``, ``finish`` or ``done``.
        done, total: frames of this stage; total is None while unknown.
        faces: met so far in this stage.
        fps: frames per second in this stage.
        seconds_left: estimate for the whole job; None while there is none.
    """

    fraction: float = 0.0
    stage: str = "waiting"
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
        kind: ``restore``, or one of the quick kinds.
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
