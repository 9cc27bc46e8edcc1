"""Files with ranges, whose refusals are problems like those of every other address."""

from __future__ import annotations

from fastapi.responses import FileResponse, JSONResponse
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from revisage.service.problems import problem_response

__all__ = ["RangedFile"]

_REFUSALS = {
    400: ("bad_range", "the header 'Range' cannot be understood; send one such as bytes=0-1023"),
    416: ("range_outside", "the range lies outside the file"),
}


class RangedFile(FileResponse):
    """A file, or the part of it that is asked for. FileResponse itself refuses a range in plain text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, its part, or a problem."""
        refused: Message | None = None

        async def send_unless_refused(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] in _REFUSALS:
                refused = message
            if refused is None:
                await send(message)

        await super().__call__(scope, receive, send_unless_refused)
        if refused is not None:
            await _problem(refused)(scope, receive, send)


def _problem(refused: Message) -> JSONResponse:
    """The refusal as a problem, with the file's size where it was told."""
    status: int = refused["status"]
    code, detail = _REFUSALS[status]
    size = Headers(raw=refused["headers"]).get("content-range")
    if size is None:
        return problem_response(status, code, detail)
    bytes_held = size.rpartition("/")[2]
    return problem_response(status, code, f"{detail}, which has {bytes_held} bytes", headers={"Content-Range": size})
