"""A live picture over HTTP on this machine: each viewer gets the newest frame when it is ready for one."""

from __future__ import annotations

import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import cv2

from revisage.core import OutputError

if TYPE_CHECKING:
    from revisage.media import Frame
    from revisage.streams.showing import Action

__all__ = ["MjpegServer"]

_HOST = "127.0.0.1"
_NAMES = (_HOST, "localhost")
"""A page of another site could have its own name point here, and read what the camera sees: it is not answered."""

_BOUNDARY = "revisage-frame"
_QUALITY = 88
_AGAIN = 2.0
"""Seconds after which the last frame is sent again where no new one came: a viewer who is gone is noticed so."""

_PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>revisage live</title>
<style>html,body{height:100%;margin:0;background:#12171d}img{width:100%;height:100%;object-fit:contain}</style>
<img src="/stream" alt="The live picture, restored"></html>"""


class _Newest:
    """The newest frame, and its JPEG once somebody wants it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._number = 0
        self._jpeg: tuple[int, bytes] = (0, b"")
        self._encoding = threading.Lock()
        self.ended = False

    def put(self, frame: Frame | None) -> None:
        """Take the next frame; None is the end."""
        with self._changed:
            self._frame, self._number, self.ended = frame or self._frame, self._number + 1, frame is None
            self._changed.notify_all()

    def after(self, number: int) -> tuple[int, bytes] | None:
        """Number and JPEG of a frame newer than ``number``, or of the same one after a while; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended or self._number > number, timeout=_AGAIN)
            newest, frame = self._number, self._frame
            if self.ended:
                return None
        return newest, b"" if frame is None else self._encoded(newest, frame)

    def _encoded(self, number: int, frame: Frame) -> bytes:
        """Once for all viewers."""
        with self._encoding:
            if self._jpeg[0] != number:
                picture = cv2.cvtColor(frame.rgb(), cv2.COLOR_RGB2BGR)
                _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
                self._jpeg = (number, data.tobytes())
            return self._jpeg[1]


class _Handler(BaseHTTPRequestHandler):
    """Answers ``/`` with a page, ``/stream`` with the moving picture, ``/frame.jpg`` with one picture."""

    protocol_version = "HTTP/1.0"

    def __init__(self, newest: _Newest, *arguments: object) -> None:
        self._newest = newest
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer a request."""
        if self.headers.get("Host", "").rpartition(":")[0] not in _NAMES:
            self.send_error(403, "ask for 127.0.0.1")
        elif self.path == "/":
            self._send("text/html; charset=utf-8", _PAGE)
        elif self.path == "/stream":
            self._stream()
        elif self.path == "/frame.jpg":
            found = self._newest.after(-1)
            self._send("image/jpeg", found[1]) if found and found[1] else self.send_error(503, "no frame yet")
        else:
            self.send_error(404)

    def _send(self, kind: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        number = 0
        while (found := self._newest.after(number)) is not None:
            number, jpeg = found
            if jpeg:
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Say nothing: a viewer is no news."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A viewer who leaves is no error."""


class MjpegServer:
    """Serves the newest frame on 127.0.0.1. A slow viewer misses frames, and holds nobody up.

    Args:
        port: 0 takes any that is free.

    Raises:
        OutputError: the port is taken.
    """

    def __init__(self, port: int = 0) -> None:
        self._newest = _Newest()
        try:
            self._server = _Server((_HOST, port), partial(_Handler, self._newest))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OutputError(f"port {port} cannot be served: {reason}; name another with --port") from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="revisage-mjpeg", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{_HOST}:{self._server.server_port}/"

    def show(self, frame: Frame) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        self._newest.put(frame)

    def actions(self) -> list[Action]:
        """See :class:`revisage.streams.showing.Display`."""
        return []

    def close(self) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        self._newest.put(None)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def abort(self) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        if not self._newest.ended:
            self.close()
