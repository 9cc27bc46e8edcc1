"""Displays: a page for browsers, pipes, recordings, a window, a virtual camera; and what is drawn over frames."""

from __future__ import annotations

import ctypes
import http.client
import io
import socket
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

from revisage.core import MissingExtraError, OutputError, OutputExistsError
from revisage.media import Frame
from revisage.streams import MjpegServer, Recording, StreamWriter, View, VirtualCamera, Window, figures, show_session
from revisage.streams.live_frames import LiveFrame
from revisage.streams.pace import StreamTally
from sample_media import plain_frames

SIZE = (96, 128)


def frame(number: int = 0, value: int | None = None) -> Frame:
    picture = plain_frames(number + 1, SIZE)[number] if value is None else np.full((*SIZE, 3), value, np.uint8)
    return Frame.from_array(picture, pts=number * 40)


class Session:
    """Stands where a live session does: frames that are ready at once."""

    def __init__(self, count: int = 3) -> None:
        self.tally = StreamTally(taken=count, shown=count, with_faces=count, restored=1)
        self.restorer = SimpleNamespace(strength=1.0)
        self.captured, self.dropped, self.stopped = count, 0, False
        self._count = count

    def frames(self) -> Iterator[LiveFrame]:
        for number in range(self._count):
            if self.stopped:
                return
            self.tally.latencies.add(0.02)
            yield LiveFrame(frame(number, 200), frame(number, 40), number / 25, 0.02)

    def stop(self) -> None:
        self.stopped = True


class Kept:
    """A display that keeps what it is shown, with keys pressed in advance."""

    def __init__(self, keys: list[list[Any]] | None = None) -> None:
        self.shown: list[Frame] = []
        self.ended = ""
        self._keys = keys or []

    def show(self, shown: Frame) -> None:
        self.shown.append(shown)

    def actions(self) -> list[Any]:
        return self._keys.pop(0) if self._keys else []

    def close(self) -> None:
        self.ended += "closed"

    def abort(self) -> None:
        self.ended += "aborted"


def test_keys_split_the_picture_change_the_strength_and_end_it() -> None:
    session, display = Session(6), Kept([["split", "weaker", "weaker"], ["overlay", "stronger"], ["quit"]])
    show_session(session, display, View())  # type: ignore[arg-type]
    plain, split, labelled = (shown.rgb() for shown in display.shown)
    assert (plain == 200).all()
    assert (split[:, :60] == 40).all()
    assert (split[:, 66:] == 200).all()
    assert (labelled[:60] == split[:60]).all()
    assert not np.array_equal(labelled, split)
    assert session.restorer.strength == pytest.approx(0.9)
    assert display.ended == "closed"


def test_an_error_leaves_nothing_half_finished() -> None:
    class Broken(Kept):
        def show(self, shown: Frame) -> None:
            raise OutputError("the disk is gone")

    session, display = Session(), Broken()
    with pytest.raises(OutputError):
        show_session(session, display, View())  # type: ignore[arg-type]
    assert display.ended == "aborted"
    assert session.stopped


def test_ctrl_c_is_a_way_to_end() -> None:
    class Stopped(Kept):
        def show(self, shown: Frame) -> None:
            raise KeyboardInterrupt

    display = Stopped()
    show_session(Session(), display, View())  # type: ignore[arg-type]
    assert display.ended == "closed"


def test_figures_are_plain_values() -> None:
    session = Session(4)
    show_session(session, Kept(), View())  # type: ignore[arg-type]
    told = figures(session, 2.0)  # type: ignore[arg-type]
    assert (told["shown"], told["frames_per_second"], told["share_restored"]) == (4, 2.0, 0.25)
    assert told["latency_ms"] == {"p50": 20, "p95": 20, "p99": 20}


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    made = MjpegServer()
    yield made
    made.abort()


def request(server: MjpegServer, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(server.address[7:-1], timeout=20)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def part(response: http.client.HTTPResponse) -> np.ndarray:
    """The next picture of a stream."""
    while not (line := response.readline()).startswith(b"Content-Length:"):
        assert line
    length = int(line.partition(b":")[2])
    response.readline()
    return np.asarray(PillowImage.open(io.BytesIO(response.read(length))))


def test_several_viewers_see_the_newest_frame(server: MjpegServer) -> None:
    viewers = [request(server, "/stream") for _ in range(3)]
    for number, value in enumerate((30, 120, 220)):
        server.show(frame(number, value))
        for viewer in viewers:
            assert abs(int(part(viewer).mean()) - value) <= 2


def test_a_viewer_who_does_not_read_holds_nobody_up(server: MjpegServer) -> None:
    host, port = server.address[7:-1].split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(f"GET /stream HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
        rng = np.random.default_rng(0)
        spent = 0.0
        for number in range(60):
            noise = Frame.from_array(rng.integers(0, 255, (360, 640, 3), np.uint8), pts=number)
            began = time.thread_time()
            server.show(noise)
            spent += time.thread_time() - began
        quick = request(server, "/stream")
        server.show(frame(0, 220))
        while abs(int(part(quick).mean()) - 220) > 2:
            pass
        assert spent < 0.5


def test_the_page_and_single_pictures(server: MjpegServer) -> None:
    assert b'src="/stream"' in request(server, "/").read()
    server.show(frame(0, 90))
    picture = PillowImage.open(io.BytesIO(request(server, "/frame.jpg").read()))
    assert picture.size == SIZE[::-1]
    assert request(server, "/other").status == 404


def test_a_name_of_another_site_that_points_here_is_not_answered(server: MjpegServer) -> None:
    server.show(frame())
    for path in ("/", "/stream", "/frame.jpg"):
        assert request(server, path, Host="evil.example:8090").status == 403


def test_a_port_that_is_taken_is_said(server: MjpegServer) -> None:
    port = int(server.address[:-1].rpartition(":")[2])
    with pytest.raises(OutputError, match="--port"):
        MjpegServer(port)


@pytest.mark.parametrize(("kind", "name"), [("nut", "nut"), ("matroska", "matroska,webm")])
def test_a_pipe_carries_every_picture_at_its_time(kind: Any, name: str, tmp_path: Path) -> None:
    target = tmp_path / "pipe"
    writer = StreamWriter.to_pipe(kind, str(target))
    times = [0, 40, 80, 200]
    for time_of in times:
        writer.show(Frame.from_array(np.full((*SIZE, 3), time_of, np.uint8), pts=7000 + time_of))
    writer.close()
    with av.open(str(target)) as container:
        assert container.format.name == name
        read = [(f.pts * f.time_base, f.to_ndarray(format="rgb24").mean()) for f in container.decode(video=0)]
    assert [time_of for time_of, _ in read] == [Fraction(time_of, 1000) for time_of in times]
    assert [mean for _, mean in read] == pytest.approx(times, abs=2)


def test_a_raw_pipe_is_pixels_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "pipe"
    writer = StreamWriter.to_pipe("raw", str(target))
    pictures = plain_frames(3, SIZE)
    for number, picture in enumerate(pictures):
        writer.show(Frame.from_array(picture, pts=number))
    writer.close()
    assert target.read_bytes() == b"".join(picture.tobytes() for picture in pictures)


@pytest.mark.parametrize("ending", [".mkv", ".mp4", ".webm"])
def test_a_recording_takes_its_name_when_it_is_complete(ending: str, tmp_path: Path) -> None:
    target = tmp_path / f"film{ending}"
    recording = Recording(target)
    for number in range(5):
        recording.show(frame(number))
        assert not target.exists()
    recording.close()
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    with av.open(str(target)) as container:
        assert [float(f.pts * f.time_base) for f in container.decode(video=0)] == pytest.approx(
            [0.04 * number for number in range(5)], abs=0.002
        )
    with pytest.raises(OutputExistsError):
        Recording(target)


def test_what_was_filmed_is_kept_where_the_session_fails(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "film.mkv")
    for number in range(3):
        recording.show(frame(number))
    recording.abort()
    with av.open(str(tmp_path / "film.mkv")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3


def test_recordings_that_cannot_be_are_refused_beforehand(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.mkv, \.mov, \.mp4, \.webm"):
        Recording(tmp_path / "film.gif")
    with pytest.raises(OutputError, match="no frame came"):
        Recording(tmp_path / "film.mkv").close()


def test_a_window_shows_frames_and_hears_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sdl2", reason="needs the extra 'window'", exc_type=ImportError)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    window = Window()
    window.show(frame(2))
    sdl = window._sdl
    shown = np.zeros((*SIZE, 3), np.uint8)
    pixels = shown.ctypes.data_as(ctypes.c_void_p)
    window.show(frame(2))
    sdl.SDL_RenderCopy(window._renderer, window._texture, None, None)
    sdl.SDL_RenderReadPixels(window._renderer, None, sdl.SDL_PIXELFORMAT_RGB24, pixels, shown.strides[0])
    assert np.array_equal(shown, frame(2).rgb())
    for key in (sdl.SDLK_s, sdl.SDLK_UP, sdl.SDLK_x, sdl.SDLK_q):
        event = sdl.SDL_Event()
        event.type, event.key.keysym.sym = sdl.SDL_KEYDOWN, key
        sdl.SDL_PushEvent(ctypes.byref(event))
    assert window.actions() == ["split", "stronger", "quit"]
    window.show(Frame.from_array(plain_frames(1, (60, 80))[0]))  # a camera that came back with another size
    window.close()


def test_a_window_without_a_display_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sdl2", reason="needs the extra 'window'", exc_type=ImportError)
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    monkeypatch.setenv("DISPLAY", ":97")
    with pytest.raises(OutputError, match="--to mjpeg"):
        Window()


@pytest.mark.parametrize(
    ("library", "made", "extra"), [("sdl2", Window, "window"), ("pyvirtualcam", VirtualCamera, "virtualcam")]
)
def test_an_extra_that_is_missing_is_named(
    library: str, made: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"revisage\[{extra}\]"):
        made()


class Camera:
    """Stands where pyvirtualcam's camera does."""

    sent: list[np.ndarray]

    def __init__(self, width: int, height: int, **_: object) -> None:
        self.size, self.device = (height, width), "/dev/video9"
        Camera.sent = []

    def send(self, picture: np.ndarray) -> None:
        assert picture.shape == (*self.size, 3)
        Camera.sent.append(picture)

    def close(self) -> None:
        pass


def test_a_virtual_camera_gets_frames_of_its_first_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=Camera))
    camera = VirtualCamera()
    camera.show(frame(1))
    camera.show(Frame.from_array(plain_frames(1, (60, 80))[0]))
    assert [picture.shape for picture in Camera.sent] == [(*SIZE, 3)] * 2
    assert np.array_equal(Camera.sent[0], frame(1).rgb())
    camera.close()


def test_no_virtual_camera_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(**_: object) -> None:
        raise RuntimeError("No v4l2 loopback device found.\nDid you run modprobe?")

    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=absent))
    with pytest.raises(OutputError, match="load v4l2loopback") as error:
        VirtualCamera()
    assert "\n" not in str(error.value)
