"""What the service answers with, as documented in its OpenAPI description."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from revisage.service.values import Job, Status, iso

__all__ = ["FaceList", "Health", "JobBody", "JobList", "ModelBody", "ModelList", "ScanBody", "job_body"]

_ID = "3f1c9a52d0e84b7f9d2c6a1b8e7f0a43"


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [values]})


class ProgressBody(BaseModel):
    """How far a job is."""

    fraction: float = Field(ge=0, le=1, description="Of the whole job.")
    stage: Literal["waiting", "scan", "restore", "finish", "done"]
    done: int = Field(description="Frames finished in this stage.")
    total: int | None = Field(description="Frames in this stage; null while unknown.")
    faces: int = Field(description="Faces met in this stage.")
    fps: float | None = Field(description="Frames per second.")
    seconds_left: float | None = Field(description="An estimate; null while there is none.")


class InputBody(BaseModel):
    """The file that a job works on."""

    name: str
    format: str = Field(description="What its content says.")
    bytes: int
    sha256: str | None = Field(description="Of an upload.")


class ErrorBody(BaseModel):
    """Why a job failed."""

    code: str = Field(description="A word for programs.")
    message: str = Field(description="One line for people.")


_JOB = {
    "id": _ID,
    "status": "running",
    "progress": {
        "fraction": 0.61,
        "stage": "restore",
        "done": 390,
        "total": 750,
        "faces": 390,
        "fps": 12.4,
        "seconds_left": 31.0,
    },
    "error": None,
    "input": {"name": "tape.mpg", "format": "mpg", "bytes": 20480000, "sha256": "9f86d0…"},
    "config": {"strength": 0.8},
    "result": {},
    "attempts": 1,
    "created_at": "2026-05-04T09:12:31.204Z",
    "started_at": "2026-05-04T09:12:31.530Z",
    "finished_at": None,
    "links": {"self": f"/v1/jobs/{_ID}", "events": f"/v1/jobs/{_ID}/events"},
}


class JobBody(BaseModel):
    """A job."""

    model_config = _example(**_JOB)

    id: str
    status: Status
    progress: ProgressBody
    error: ErrorBody | None
    input: InputBody
    config: dict[str, Any] = Field(description="The RestoreConfig fields that were given.")
    result: dict[str, Any] = Field(description="When it is done: frames, faces_restored, seconds, measures …")
    attempts: int = Field(description="How often a worker began with it; above 1 after a worker died.")
    created_at: str
    started_at: str | None
    finished_at: str | None
    links: dict[str, str]


class JobList(BaseModel):
    """Jobs, the newest first."""

    model_config = _example(jobs=[_JOB], next=None)

    jobs: list[JobBody]
    next: str | None = Field(description="Give this as `after` for the next page; null at the end.")


class FaceBody(BaseModel):
    """One person in one shot."""

    model_config = ConfigDict(extra="allow")

    id: int
    first_seconds: float
    last_seconds: float
    frames: int
    seen: int
    mean_size: float = Field(description="Longer side of the box, in px.")
    mean_score: float
    strength: float | None = Field(description="As set in the scan that came with the job.")
    quality: str | None = None
    description: str | None = None
    pictures: dict[str, str] = Field({}, description="Addresses of JPEGs, before and after.")


class FaceList(BaseModel):
    """The people of a job's file."""

    model_config = _example(
        faces=[
            {
                "id": 0,
                "first_seconds": 0.0,
                "last_seconds": 2.96,
                "frames": 75,
                "seen": 75,
                "mean_size": 163.3,
                "mean_score": 0.904,
                "strength": None,
                "quality": "blurred",
                "description": "large (169 px), blurred",
                "pictures": {"before": f"/v1/jobs/{_ID}/faces/0/before", "after": f"/v1/jobs/{_ID}/faces/0/after"},
            }
        ]
    )

    faces: list[FaceBody]


class ScanBody(BaseModel):
    """All faces of a file. ``scan`` can be sent back with a job, in the form field of that name, perhaps with fewer
    tracks or with strengths set."""

    model_config = _example(
        frames=75,
        shots=1,
        tracks=[{"id": 0, "first_seconds": 0.0, "last_seconds": 2.96, "frames": 75, "seen": 75, "mean_size": 163.3}],
        truncated=False,
        scan={"version": 1, "tracks": ["…"]},
    )

    frames: int
    shots: int
    tracks: list[dict[str, Any]]
    truncated: bool
    scan: dict[str, Any]


class ModelBody(BaseModel):
    """Weights that are known by name."""

    model_config = _example(
        name="compact", architecture="compact", present=True, embedded=True, bytes=7731656, licence="Apache-2.0; …"
    )

    name: str
    architecture: str
    present: bool = Field(description="Whether the weights are on the server; others are fetched when first used.")
    embedded: bool
    bytes: int | None
    licence: str


class ModelList(BaseModel):
    """The models that a config may name."""

    models: list[ModelBody]


class Health(BaseModel):
    """Whether the service works."""

    model_config = _example(status="ok", version="0.1.0", workers={"restore": 2, "quick": 1})

    status: Literal["ok"]
    version: str
    workers: dict[str, int] | None = Field(description="Worker processes that were heard of lately.")


def job_body(job: Job) -> JobBody:
    """A job as the service shows it: no names of files on the server."""
    progress = {name: getattr(job.progress, name) for name in ProgressBody.model_fields}
    error = None if job.error is None else ErrorBody(code=job.error_code or "failed", message=job.error)
    return JobBody(
        id=job.id,
        status=job.status,
        progress=ProgressBody(**progress),
        error=error,
        input=InputBody(
            name=job.input.name, format=job.input.format, bytes=job.input.bytes, sha256=job.input.sha256 or None
        ),
        config=job.config,
        result={name: value for name, value in job.result.items() if not _is_file(value)},
        attempts=job.attempts,
        created_at=iso(job.created) or "",
        started_at=iso(job.started),
        finished_at=iso(job.finished),
        links=_links(job),
    )


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and bool(PurePath(value).suffix)


def _links(job: Job) -> dict[str, str]:
    base = f"/v1/jobs/{job.id}"
    links = {"self": base, "events": f"{base}/events", "preview": f"{base}/preview"}
    files = ("output", "report", "faces", "compare", "playable")
    return links | {name: f"{base}/{name}" for name in files if name in job.result}
