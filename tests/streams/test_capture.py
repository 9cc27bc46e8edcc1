"""Sources: what a word stands for, files played in real time, and sources that are lost and come back."""

from __future__ import annotations

import contextlib
import http.server
import os
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from revisage.core import InputError
from revisage.streams import Capture, Place, find_place
from sample_media import face_frames, plain_frames, write_video


class Counted:
    """A clock on which waiting takes no time."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("live") / "clip.mkv", plain_frames(10), codec="mpeg4")


@pytest.mark.parametrize(
    ("source", "kind", "returns"),
    [("-", "pipe", False), ("rtsp://host/one", "address", True), ("HTTP://host/one.mjpg", "address", True)],
)
def test_words_for_sources(source: str, kind: str, returns: bool) -> None:
    place = find_place(source)
    assert (place.kind, place.returns) == (kind, returns)


def test_a_file_is_a_file_and_a_pipe_a_pipe(clip: Path, tmp_path: Path) -> None:
    assert (find_place(clip).kind, find_place(clip).returns) == ("file", False)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert (find_place(tmp_path / "pipe").kind, find_place(tmp_path / "pipe").returns) == ("pipe", True)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("no such camera", "no camera or file is called 'no such camera'"),
        ("ftp://host/one", "a live address begins with rtsp://"),
        ("file:///etc/passwd", "a live address begins with rtsp://"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(source: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        find_place(source)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(sys.platform != "linux", reason="devices have such names on Linux")
def test_a_camera_that_is_absent_is_said_in_a_line() -> None:
    with pytest.raises(InputError, match=r"there is no camera 97; (this machine shows no camera|cameras here: )"):
        find_place(97)


def test_a_folder_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        find_place(tmp_path)


def test_a_file_is_played_when_its_frames_are_due(clip: Path) -> None:
    clock = Counted()
    capture = Capture(clip, clock=clock)
    at: list[float] = []
    capture._keep = lambda _, due: at.append(due)  # type: ignore[method-assign]
    capture._read()
    assert [round(due - at[0], 3) for due in at] == [round(number / 25, 3) for number in range(10)]
    assert clock.now() == pytest.approx(at[-1])


def test_frames_that_nobody_takes_make_way_for_newer_ones(clip: Path) -> None:
    capture = Capture(clip, clock=Counted())
    capture._read()  # all of it, before anybody looks
    last = capture._take()
    assert last is not None
    assert (last.frame.index, capture.dropped) == (9, 9)


class Broken(http.server.SimpleHTTPRequestHandler):
    """Serves a file twice, refuses the third request, and serves again."""

    requests: list[int]

    def do_GET(self) -> None:
        self.requests.append(1)
        if len(self.requests) == 3:
            self.send_error(503)
            return
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


def test_an_address_that_ends_is_waited_for_and_taken_up_again(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("revisage.streams.capture._WAITS", (0.01,))
    requests: list[int] = []
    handler = partial(type("Handler", (Broken,), {"requests": requests}), directory=str(clip.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        states: list[str] = []
        capture = Capture(f"http://127.0.0.1:{server.server_port}/{clip.name}", on_state=states.append)
        for captured in capture.frames():
            assert captured.frame.size_hw == (120, 160)
            if states.count("back") == 2:
                break
        server.shutdown()
        thread.join()
    assert states[:4] == ["lost", "back", "lost", "back"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"YUV4MPEG2 W64 H64 F25:1 Ip A1:1 C420jpeg\n", "the head of yuv4mpegpipe and no picture"),
        (None, "gave no frame: the index of this MP4 may come last; name the file"),
    ],
)
def test_a_pipe_without_a_frame_says_what_there_was(
    content: bytes | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is an MP4 that is longer than what FFmpeg keeps of a pipe."""
    if content is None:
        content = write_video(tmp_path / "in.mp4", face_frames(10)).read_bytes()
    here, there = os.pipe()
    monkeypatch.setattr("revisage.streams.capture.find_place", lambda _: Place("pipe", f"pipe:{here}", "-", False))
    writer = threading.Thread(target=_pour, args=(there, content), daemon=True)
    writer.start()
    with pytest.raises(InputError, match=says):
        next(Capture("-").frames())
    os.close(here)
    writer.join(10)


def _pour(pipe: int, content: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(pipe, "wb") as file:
        file.write(content)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_a_named_pipe_that_ends_is_taken_up_again(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("revisage.streams.capture._WAITS", (0.01,))
    pipe = tmp_path / "camera.mkv"
    os.mkfifo(pipe)
    stop = threading.Event()

    def film() -> None:
        while not stop.is_set():
            with contextlib.suppress(BrokenPipeError):
                pipe.write_bytes(clip.read_bytes())

    writer = threading.Thread(target=film, daemon=True)
    writer.start()
    states: list[str] = []
    capture = Capture(pipe, on_state=states.append)
    for _ in capture.frames():
        if "back" in states:
            break
    stop.set()
    assert states[:2] == ["lost", "back"]


def test_an_address_where_nothing_answers_is_said_in_a_line() -> None:
    with pytest.raises(InputError, match="does not answer with video") as error:
        next(Capture("http://127.0.0.1:9/none.mjpg").frames())
    assert "\n" not in str(error.value)


def test_a_file_without_video_is_said_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "notes.mp4"
    file.write_text("nothing to see")
    with pytest.raises(InputError, match=r"notes\.mp4"):
        next(Capture(file).frames())


def test_a_pipe_gives_its_first_frame_too(clip: Path, tmp_path: Path) -> None:
    """What is read to learn what comes is not thrown away."""
    with Path(clip).open("rb") as file:
        place = Place("pipe", f"pipe:{file.fileno()}", "the pipe", returns=False)
        capture = Capture(clip)
        capture.place = place
        numbers = [captured.frame.index for captured in capture.frames()]
        assert numbers
        assert numbers[-1] == 9
