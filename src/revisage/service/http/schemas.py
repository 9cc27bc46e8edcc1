"""What the service answers with: bodies, problems, and what its OpenAPI description says of them."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from pathlib import PurePath
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from revisage.core import (
    ConfigError,
    RestoreConfig,
    RevisageError,
    served_fields,
)
from revisage.service.jobs import (
    LONG_KINDS,
    Job,
    JobProgress,
    Kind,
    Status,
    error_code,
    error_status,
    iso,
    public_error,
)

__all__ = [
    "FILES",
    "IMAGE_REQUEST",
    "JOB_REQUEST",
    "PROBLEMS",
    "QUICK_REQUEST",
    "FaceList",
    "Health",
    "JobBody",
    "JobList",
    "ModelBody",
    "ModelList",
    "PresetBody",
    "PresetList",
    "Problem",
    "ProblemError",
    "ScanBody",
    "add_handlers",
    "job_body",
    "picture",
    "problem_response",
]

_LOG = logging.getLogger("revisage.service")
_OPTION = re.compile(r"option '([^']+)'|^([a-z_]+) cannot be")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "unknown option 'strenght'; did you mean 'strength'?",
                    "code": "bad_config",
                    "parameter": "strenght",
                }
            ]
        }
    )

    type: str = "about:blank"
    title: str = Field(description="Of the status.")
    status: int
    detail: str = Field(description="One line for people.")
    code: str = Field(description="A word for programs.")
    parameter: str | None = Field(None, description="The option or parameter at fault.")


class ProblemError(RevisageError):
    """A request that cannot be answered, with its status."""

    def __init__(self, status: int, code: str, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.code = status, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def problem_response(
    status: int, code: str, detail: str, *, parameter: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The answer to a request that failed."""
    problem = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, parameter=parameter
    ).model_dump(exclude_none=True)
    return JSONResponse(problem, status, headers=headers, media_type="application/problem+json")


def add_handlers(app: FastAPI) -> None:
    """Let every error of the app become a problem."""
    app.add_exception_handler(RevisageError, _on_own)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_own(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RevisageError)
    detail = public_error(error, {})
    if isinstance(error, ProblemError):
        return problem_response(error.status, error.code, detail, headers=error.headers)
    status, code = error_status(error), error_code(error)
    headers = {"Retry-After": "10"} if status in (429, 507) else None
    parameter = _parameter(detail) if isinstance(error, ConfigError) else None
    return problem_response(status, code, detail, parameter=parameter, headers=headers)


def _parameter(detail: str) -> str | None:
    match = _OPTION.search(detail)
    return None if match is None else match[1] or match[2]


async def _on_validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = dict(error.errors()[0])
    name = ".".join(str(part) for part in first["loc"][1:])
    return problem_response(422, "bad_request", f"{name}: {str(first['msg']).lower()}", parameter=name)


async def _on_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    headers = dict(error.headers) if error.headers else None
    return problem_response(error.status_code, code, HTTPStatus(error.status_code).phrase.lower(), headers=headers)


async def _on_unexpected(request: Request, error: Exception) -> JSONResponse:
    route = getattr(request.scope.get("route"), "path", "?")
    _LOG.error("%s %s: unexpected %s", request.method, route, type(error).__name__)
    return problem_response(500, "internal", "the service failed unexpectedly")


_ID = "3f1c9a52d0e84b7f9d2c6a1b8e7f0a43"


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [values]})


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
    "kind": "restore",
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
    kind: Kind
    status: Status
    progress: JobProgress
    error: ErrorBody | None
    input: InputBody
    config: dict[str, Any] = Field(description="The RestoreConfig fields that were given.")
    result: dict[str, Any] = Field(
        description="When it is done: frames, faces_restored, seconds, measures …; of an analysis frames, shots, "
        "people (label, name, likeness, seconds, appearances, tracks), notes."
    )
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
    person: str | None = Field(None, description="Whom it shows, where that is known.")
    likeness: dict[str, Any] | None = Field(
        None,
        description="Restored faces beside what they were: `identity` (1: the same), `expression_kept`, …",
    )
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


class PresetBody(BaseModel):
    """A set of options for one kind of footage."""

    model_config = _example(name="film", footage="well kept film: grain, specks of dust", options={"dust": True})

    name: str = Field(description="What `preset` of a config may be.")
    footage: str
    options: dict[str, bool | float | str] = Field(description="What it sets; options of the config win.")


class PresetList(BaseModel):
    """The presets that a config may name."""

    presets: list[PresetBody]


class Health(BaseModel):
    """Whether the service works."""

    model_config = _example(status="ok", version="0.1.0", workers={"restore": 2, "quick": 1})

    status: Literal["ok"]
    version: str
    workers: dict[str, int] | None = Field(description="Worker processes that were heard of lately.")


def job_body(job: Job, root: str = "") -> JobBody:
    """A job as the service shows it: no names of files on the server.

    Args:
        job: the job.
        root: the path under which the service is reached, without a slash at its end.
    """
    error = None if job.error is None else ErrorBody(code=job.error_code or "failed", message=job.error)
    return JobBody(
        id=job.id,
        kind=job.kind,
        status=job.status,
        progress=job.progress,
        error=error,
        input=InputBody(
            name=job.input.name, format=job.input.format, bytes=job.input.bytes, sha256=job.input.sha256 or None
        ),
        config=job.config,
        result={name: value for name, value in job.result.items() if name != "portraits" and not _is_file(value)},
        attempts=job.attempts,
        created_at=iso(job.created) or "",
        started_at=iso(job.started),
        finished_at=iso(job.finished),
        links=_links(job, root),
    )


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and bool(PurePath(value).suffix)


def _links(job: Job, root: str) -> dict[str, str]:
    base = f"{root}/v1/jobs/{job.id}"
    links = {"self": base, "events": f"{base}/events", "preview": f"{base}/preview"}
    files = ("output", "report", "faces", "compare", "playable", *_OF_ANALYSIS)
    return links | {name: f"{base}/{name}" for name in files if name in job.result}


_OF_ANALYSIS = ("people.json", "people.csv", "people.vtt", "people.html", "scan")


_ABOUT = {
    400: "The request is malformed.",
    401: "A valid token is needed.",
    403: "This is not allowed.",
    404: "There is no such thing.",
    409: "The job is not in a state for this.",
    413: "The file, or what it holds, is larger than the service allows.",
    415: "The file is none that can be restored.",
    422: "An option or field is unknown or has a value that is not allowed.",
    429: "As many jobs as allowed are queued or running; see Retry-After.",
    507: "There is no room for more files.",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text, "content": {"application/problem+json": {}}}
    for status, text in _ABOUT.items()
}

_FILE = {"type": "string", "format": "binary", "description": "A video, GIF, APNG, WebP or photo, whatever its name."}


def _options() -> dict[str, Any]:
    """The schema of the options that a request may set."""
    whole, served = RestoreConfig.model_json_schema(), served_fields()
    properties = {name: schema for name, schema in whole["properties"].items() if name in served}
    return {"type": "object", "additionalProperties": False, "properties": properties}


_CONFIG = {
    "type": "string",
    "contentMediaType": "application/json",
    "contentSchema": _options(),
    "description": f"Options as a JSON object; see `revisage restore --help`. Among {', '.join(served_fields())}.",
    "examples": ['{"strength": 0.8, "upscale": 2}'],
}


def _form(required: list[str], **fields: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": required, "properties": fields}
    example = {"file": "(the bytes of tape.mpg)", "config": '{"strength": 0.8}'}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema, "example": example}}}
    }


_SWITCH = {"type": "boolean", "default": False}
_PHOTOS = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "description": "Photos of people, one field `photo` for each. `who` of `config` gives them names by their file "
    'names: `{"who": ["Ann=ann.jpg"], "only": ["Ann"]}`. They are deleted with the job, '
    "those of an analysis when it is done.",
}
JOB_REQUEST = _form(
    [],
    file=_FILE,
    path={"type": "string", "description": "Instead of `file`: a file of the server's, in a folder that it allows."},
    kind={
        "type": "string",
        "enum": list(LONG_KINDS),
        "default": "restore",
        "description": "`analyze`: who is in it when, how heads are held, what faces show; nothing is restored.",
    },
    config=_CONFIG,
    photo=_PHOTOS,
    scan={
        "type": "string",
        "contentMediaType": "application/json",
        "description": "`scan` of POST /v1/scan or of an analysis, perhaps with fewer tracks: these faces only.",
    },
    every={
        "type": "number",
        "default": 0.2,
        "description": "Of an analysis: seconds between two looks at a face.",
    },
    compare=_SWITCH | {"description": "Also make a labelled side-by-side."},
    playable=_SWITCH | {"description": "Also make a copy that browsers play, where they do not play the output."},
)
QUICK_REQUEST = _form(["file"], file=_FILE, config=_CONFIG)
IMAGE_REQUEST = _form(["file"], file=_FILE, config=_CONFIG, photo=_PHOTOS)

_BYTES = {"schema": {"type": "string", "format": "binary"}}
FILES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": {"application/octet-stream": _BYTES}},
    206: {"description": "The part that the Range header asks for."},
    416: {
        "model": Problem,
        "description": "The range lies outside the file; Content-Range tells its size.",
        "content": {"application/problem+json": {}},
    },
}


def picture(kind: str) -> dict[int | str, dict[str, Any]]:
    """The documentation of an answer that is a picture."""
    return {200: {"description": "The picture.", "content": {kind: _BYTES}}, 206: FILES[206], 416: FILES[416]}
