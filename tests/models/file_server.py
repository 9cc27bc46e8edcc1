"""A web server on this machine that can be told to misbehave."""

from __future__ import annotations

import hashlib
import http.server
from collections.abc import Callable

from revisage.models.registry import ModelEntry

Behaviour = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each request by the server's next behaviour; the last one stays."""

    server: FileServer

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        behaviours = self.server.behaviours
        behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        behaviour(self)

    def log_message(self, *args: object) -> None:
        """Keep the test output quiet."""

    def send(self, status: int, body: bytes, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def requested_start(self) -> int:
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0


class FileServer(http.server.ThreadingHTTPServer):
    """Serves one payload under every path. `ranges` lists the Range header of each request."""

    daemon_threads = True

    def __init__(self, payload: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.payload = payload
        self.behaviours: list[Behaviour] = [whole_or_range]
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model.pth"

    def entry(self, **changes: object) -> ModelEntry:
        fields: dict[str, object] = {
            "name": "test-model",
            "file": "test-model.pth",
            "url": self.url,
            "sha256": hashlib.sha256(self.payload).hexdigest(),
            "bytes": None,
            "arch": "srvgg_x4",
            "params_key": None,
            "licence": "test licence",
        }
        return ModelEntry(**{**fields, **changes})  # type: ignore[arg-type]


def whole_or_range(handler: Handler) -> None:
    """An honest server."""
    payload, start = handler.server.payload, handler.requested_start()
    if not start:
        handler.send(200, payload, Content_Length=len(payload))
    elif start >= len(payload):
        handler.send(416, b"", Content_Range=f"bytes */{len(payload)}", Content_Length=0)
    else:
        span = f"bytes {start}-{len(payload) - 1}/{len(payload)}"
        handler.send(206, payload[start:], Content_Range=span, Content_Length=len(payload) - start)


def cut_after(count: int) -> Behaviour:
    """Announce everything, send `count` bytes, hang up."""

    def behave(handler: Handler) -> None:
        payload, start = handler.server.payload, handler.requested_start()
        body = payload[start : start + count]
        if start:
            span = f"bytes {start}-{len(payload) - 1}/{len(payload)}"
            handler.send(206, body, Content_Range=span, Content_Length=len(payload) - start)
        else:
            handler.send(200, body, Content_Length=len(payload))
        handler.close_connection = True

    return behave
