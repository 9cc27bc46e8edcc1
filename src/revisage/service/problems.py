"""Errors as ``application/problem+json`` (RFC 9457), without paths and without secrets."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from revisage.core import ConfigError, DiskFullError, InputError, ModelError, RevisageError, ScanMismatchError
from revisage.service.errors import (
    BusyError,
    NotFoundError,
    QuotaError,
    ReusedKeyError,
    StillAtWorkError,
    TooLargeError,
)
from revisage.service.limits import MediumTooLargeError
from revisage.service.public import error_code, public_error

__all__ = ["Problem", "ProblemError", "add_handlers", "problem_response"]

_LOG = logging.getLogger("revisage.service")
_STATUS: tuple[tuple[type[RevisageError], int], ...] = (
    (NotFoundError, 404),
    (BusyError, 429),
    (StillAtWorkError, 409),
    (ReusedKeyError, 422),
    (TooLargeError, 413),
    (MediumTooLargeError, 413),
    (QuotaError, 507),
    (DiskFullError, 507),
    (ScanMismatchError, 422),
    (InputError, 415),
    (ConfigError, 422),
    (ModelError, 422),
)
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
    detail, code = public_error(error, {}), error_code(error)
    if isinstance(error, ProblemError):
        return problem_response(error.status, code, detail, headers=error.headers)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    code = {404: "not_found", 409: "conflict", 413: "too_large", 429: "busy", 507: "no_room"}.get(status, code)
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
