"""What FastAPI cannot tell by itself for the OpenAPI description: multipart requests, files, problems."""

from __future__ import annotations

from typing import Any

from revisage.core import RestoreConfig, served_fields
from revisage.service.problems import Problem

__all__ = ["EVENTS", "FILES", "JOB_REQUEST", "PROBLEMS", "QUICK_REQUEST", "picture"]

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
JOB_REQUEST = _form(
    [],
    file=_FILE,
    path={"type": "string", "description": "Instead of `file`: a file of the server's, in a folder that it allows."},
    config=_CONFIG,
    scan={
        "type": "string",
        "contentMediaType": "application/json",
        "description": "`scan` of POST /v1/scan, perhaps with fewer tracks: restore these faces only.",
    },
    compare=_SWITCH | {"description": "Also make a labelled side-by-side."},
    playable=_SWITCH | {"description": "Also make a copy that browsers play, where they do not play the output."},
)
QUICK_REQUEST = _form(["file"], file=_FILE, config=_CONFIG)

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
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 7\nevent: progress\ndata: {"id": "3f1c…", "status": "running", …}\n\n',
            }
        },
    }
}


def picture(kind: str) -> dict[int | str, dict[str, Any]]:
    """The documentation of an answer that is a picture."""
    return {200: {"description": "The picture.", "content": {kind: _BYTES}}, 206: FILES[206], 416: FILES[416]}
