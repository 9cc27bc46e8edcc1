"""Where frames come from: a camera, a file played in real time, an address, a pipe. Only the newest frame is kept."""

from __future__ import annotations

import itertools
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import av

from revisage import media
from revisage.core import InputError
from revisage.streams.pace import Clock, SystemClock

if TYPE_CHECKING:
    from revisage.media import Frame

__all__ = ["Capture", "Captured", "Place", "camera_names", "find_place"]

_ADDRESSES = ("rtsp", "rtsps", "http", "https")
_PROTOCOLS = "http,https,httpproxy,tcp,tls,udp,rtp,rtsp,rtsps,crypto"
"""What an address may make FFmpeg open: the network, never a file."""

_OPEN_WITHIN, _READ_WITHIN = 10.0, 5.0
"""Seconds after which an address that says nothing counts as lost."""

_WAITS = (0.25, 0.5, 1.0, 2.0)
"""Seconds between tries to open a source again; the last one from then on."""

_POLL = 0.1

Kind = Literal["camera", "file", "address", "pipe"]


@dataclass(frozen=True)
class Place:
    """Where frames come from.

    Attributes:
        kind: ``camera``, ``file`` (played in real time), ``address`` or ``pipe``.
        name: for FFmpeg.
        said: as the user named it.
        returns: whether it is waited for when it ends: a file and standard input do not come back.
    """

    kind: Kind
    name: str
    said: str
    returns: bool


@dataclass(frozen=True, eq=False)
class Captured:
    """A frame, and when it was captured by the capture's clock (s)."""

    frame: Frame
    at: float


def camera_names() -> dict[str, str]:
    """The cameras of this machine: device, and what it calls itself. Empty where the system does not tell."""
    folders = sorted(Path("/sys/class/video4linux").glob("video*"))
    named = {f"/dev/{folder.name}": folder / "name" for folder in folders}
    return {device: name.read_text(encoding="utf-8").strip() for device, name in named.items() if name.is_file()}


def find_place(source: str | int | Path) -> Place:
    """What a user's word for a source stands for.

    Args:
        source: the number or name of a camera; a file; an RTSP or HTTP address; ``-`` for standard input.

    Raises:
        InputError: there is no such thing.
    """
    said = str(source)
    if said == "-":
        return Place("pipe", "pipe:0", "standard input", returns=False)
    scheme, found, _ = said.partition("://")
    if found:
        if scheme.lower() not in _ADDRESSES:
            raise InputError(f"{said}: a live address begins with {', '.join(f'{name}://' for name in _ADDRESSES)}")
        return Place("address", said, said, returns=True)
    if said.isdecimal():
        return _camera(int(said))
    path = Path(said)
    if path.exists():
        return _existing(path, said)
    for device, name in camera_names().items():
        if name == said:
            return Place("camera", device, said, returns=True)
    raise InputError(f"no camera or file is called '{said}'; {_cameras_here()}")


def _camera(number: int) -> Place:
    system: str = sys.platform
    if system == "linux":
        if not Path(f"/dev/video{number}").exists():
            raise InputError(f"there is no camera {number}; {_cameras_here()}")
        return Place("camera", f"/dev/video{number}", f"camera {number}", returns=True)
    name = f"video={number}" if system == "win32" else str(number)
    return Place("camera", name, f"camera {number}", returns=True)


def _existing(path: Path, said: str) -> Place:
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        raise InputError(f"{said} is a folder; name a camera, a file, an address or -")
    if stat.S_ISCHR(kind):
        return Place("camera", said, said, returns=True)
    if stat.S_ISFIFO(kind):
        return Place("pipe", str(path.absolute()), said, returns=True)
    return Place("file", said, said, returns=False)


def _cameras_here() -> str:
    listed = ", ".join(f"{device} ({name})" for device, name in camera_names().items())
    return f"cameras here: {listed}" if listed else "this machine shows no camera"


class Capture:
    """Reads a source in a thread of its own and keeps the newest frame; those that nobody takes are dropped.

    A source that is lost and may come back is opened again until it does.

    Args:
        source: see :func:`find_place`.
        size_hw: that a camera is asked for (px); its own choice if None.
        rate: frames a second that a camera is asked for.
        clock: tells when frames are captured. A file's frames are captured when they are due.
        on_state: told ``"lost"`` and ``"back"``.

    Raises:
        InputError: there is no such source.
    """

    def __init__(
        self,
        source: str | int | Path,
        *,
        size_hw: tuple[int, int] | None = None,
        rate: int | None = None,
        clock: Clock | None = None,
        on_state: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.place = find_place(source)
        self.dropped = 0
        self._asked = {"video_size": f"{size_hw[1]}x{size_hw[0]}"} if size_hw else {}
        self._asked |= {"framerate": str(rate)} if rate else {}
        self._clock = clock or SystemClock()
        self._on_state = on_state
        self._newest: Captured | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._problem: Exception | None = None
        self._stop = threading.Event()
        self._met = False
        self._container = ""

    def frames(self) -> Iterator[Captured]:
        """The newest frame, again and again, until the source ends.

        Raises:
            InputError: it cannot be opened, or holds no video.
        """
        threading.Thread(target=self._read, name="revisage-capture", daemon=True).start()
        try:
            while (captured := self._take()) is not None:
                yield captured
        finally:
            self.stop()
        if self._problem is not None:
            raise self._problem

    def stop(self) -> None:
        """Read no more."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def _take(self) -> Captured | None:
        with self._changed:
            while self._newest is None and not self._ended and not self._stop.is_set():
                self._changed.wait(_POLL)  # Ctrl-C is seen between two waits
            captured, self._newest = self._newest, None
            return captured

    def _keep(self, frame: Frame, at: float) -> None:
        with self._changed:
            self.dropped += self._newest is not None
            self._newest = Captured(frame, at)
            self._changed.notify_all()

    def _read(self) -> None:
        try:
            self._read_until_it_ends()
        except InputError as error:
            self._problem = error
        except Exception as error:
            self._problem = InputError(f"{self.place.said} cannot be read: {' '.join(str(error).split())}")
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read_until_it_ends(self) -> None:
        if self.place.kind == "file":
            self._play()
            return
        waits: Iterator[float] = iter(())
        while not self._stop.is_set():
            frames = 0
            try:
                for frame in self._opened():
                    frames += 1
                    waits = itertools.chain(_WAITS, itertools.repeat(_WAITS[-1]))
                    self._keep(frame, self._clock.now())
                    if self._stop.is_set():
                        return
            except (av.error.FFmpegError, OSError) as error:
                if not self._met or not self.place.returns:
                    raise self._told(error) from None
            if not self.place.returns:
                if not self._met:
                    raise InputError(f"{self.place.said} {self._without_a_frame()}")
                return
            if frames:
                self._on_state("lost")
            self._stop.wait(next(waits, _WAITS[-1]))

    def _told(self, error: Exception) -> InputError:
        if "mp4" in self._container and not self._met and self.place.kind == "pipe":
            return InputError(f"{self.place.said} {self._without_a_frame()}")
        reason = str(getattr(error, "strerror", None) or error).lower()
        what = {"camera": "cannot be opened", "address": "does not answer with video"}.get(
            self.place.kind, "holds no video that can be read"
        )
        return InputError(f"{self.place.said} {what}: {' '.join(reason.split())}")

    def _without_a_frame(self) -> str:
        """What there is to say of a pipe that was opened and gave no frame."""
        if "mp4" in self._container:
            return "gave no frame: the index of this MP4 may come last; name the file itself, or pipe NUT or Matroska"
        return f"ended before its first frame: it held the head of {self._container} and no picture"

    def _opened(self) -> Iterator[Frame]:
        """Frames of a source that comes as it comes."""
        with _open(self.place, self._asked) as container:
            self._container = container.format.name
            if not container.streams.video:
                raise InputError(f"{self.place.said} holds no video")
            stream = container.streams.video[0]
            stream.thread_type = "NONE"  # threads give a frame when those after it have come
            size_hw: tuple[int, int] | None = None
            for index, frame in enumerate(container.decode(stream)):
                size_hw = size_hw or (frame.height, frame.width)
                if not index and self._met:
                    self._on_state("back")
                self._met = True
                now = int(self._clock.now() * 1000)
                yield media.decoded_frame(frame, pts=now, time_base=Fraction(1, 1000), index=index, size_hw=size_hw)

    def _play(self) -> None:
        """A file as a camera would show it: each frame when it is due."""
        with media.open_source(Path(self.place.name)) as source:
            start: float | None = None
            for frame in source.frames():
                time_of = float(frame.pts * frame.time_base)
                start = self._clock.now() - time_of if start is None else start
                due = start + time_of
                while due > self._clock.now():
                    if self._stop.is_set():
                        return
                    self._clock.sleep(min(_POLL, due - self._clock.now()))
                if self._stop.is_set():
                    return
                self._keep(frame, due)


def _open(place: Place, asked: dict[str, str]) -> Any:
    """Open a source for reading with as little delay as FFmpeg allows.

    Raises:
        av.error.FFmpegError, OSError: it cannot be.
    """
    if place.kind == "camera":
        system = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}.get(sys.platform, "v4l2")
        try:
            return av.open(place.name, format=system, options=asked)
        except ValueError:
            raise InputError(f"this build of FFmpeg cannot open cameras ({system} is not in it)") from None
    # Not "nobuffer": it throws away what was read to learn what comes, the first key frame with it.
    options = {"flags": "low_delay"}
    if place.kind == "address":
        options["protocol_whitelist"] = _PROTOCOLS
        if place.name.lower().startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        return av.open(place.name, options=options, timeout=(_OPEN_WITHIN, _READ_WITHIN))
    options["protocol_whitelist"] = "pipe"  # what comes in can make no file be opened
    if place.name.startswith("pipe:"):
        return av.open(place.name, options=options)
    return _NamedPipe(Path(place.name), options)


class _NamedPipe:
    """A named pipe, opened as bytes and not by its name, with the container in it: a context manager like that."""

    def __init__(self, path: Path, options: dict[str, str]) -> None:
        self._file = path.open("rb", buffering=0)
        try:
            self._container = av.open(self, options=options)
        except BaseException:
            self._file.close()
            raise

    def read(self, count: int) -> bytes:
        """At most so many bytes; none at the end."""
        return self._file.read(count) or b""

    def __enter__(self) -> Any:
        return self._container

    def __exit__(self, *_: object) -> None:
        self._container.close()
        self._file.close()
