"""Live frames written as they come: a recording, or a container or bare pictures on a pipe."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import av

from revisage import media
from revisage.core import OutputError, check_file, partial_path

if TYPE_CHECKING:
    from revisage.media import Frame, FrameMaker
    from revisage.streams.showing import Action

__all__ = ["PIPE_FORMATS", "PipeFormat", "Recording", "StreamWriter"]

PipeFormat = Literal["nut", "matroska", "raw"]
PIPE_FORMATS: dict[str, tuple[str, str]] = {
    "nut": ("nut", "yuv420p"),
    "matroska": ("matroska", "yuv420p"),
    "raw": ("rawvideo", "rgb24"),
}
"""Muxer and pixel format of each kind of pipe; their pictures are not compressed."""

_ENCODERS = {
    ".mkv": ("libx264", {"preset": "veryfast", "tune": "zerolatency", "crf": "19"}),
    ".webm": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "8000000"}),
}
_ENCODERS[".mp4"] = _ENCODERS[".mov"] = _ENCODERS[".mkv"]
"""What can be encoded on the way of a frame, by the ending of a recording's name."""

_TICK = Fraction(1, 1000)


class StreamWriter:
    """Writes frames with the times at which they were captured, from 0 on.

    Args:
        target: name for FFmpeg, such as ``pipe:1``.
        muxer: FFmpeg's name of the container.
        encoder, options: that make its packets.
        pixel_format: of its pictures.
    """

    def __init__(
        self, target: str, *, muxer: str | None, encoder: str, options: dict[str, str], pixel_format: str
    ) -> None:
        self._target, self._muxer, self._encoder, self._options = target, muxer, encoder, options
        self._pixel_format = pixel_format
        self._container: Any = None
        self._stream: Any = None
        self._maker: FrameMaker | None = None
        self._size_hw = (0, 0)
        self._start = Fraction(0)
        self._last = -1

    @classmethod
    def to_pipe(cls, kind: PipeFormat, target: str = "pipe:1") -> StreamWriter:
        """Bare pictures, in a container or without one."""
        muxer, pixel_format = PIPE_FORMATS[kind]
        return cls(target, muxer=muxer, encoder="rawvideo", options={}, pixel_format=pixel_format)

    def show(self, frame: Frame) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        time_of = frame.pts * frame.time_base
        if self._maker is None:
            self._open(frame)
            self._start = time_of
        assert self._maker is not None
        # A camera that has come back may send another size; a stream has one.
        native = self._maker.encodable(frame.resized(self._size_hw))
        native.pts, native.time_base = max(self._last + 1, round((time_of - self._start) / _TICK)), _TICK
        self._last = native.pts
        self._container.mux(self._stream.encode(native))

    def _open(self, frame: Frame) -> None:
        self._maker = media.frame_maker(frame, self._pixel_format)
        height, width = frame.size_hw
        even = self._encoder != "rawvideo"
        self._size_hw = (height - height % 2, width - width % 2) if even else (height, width)
        options = {"flush_packets": "1"}
        self._container = av.open(self._target, "w", format=self._muxer, options=options)
        self._stream = self._container.add_stream(self._encoder, rate=30, options=self._options)
        self._stream.height, self._stream.width = self._size_hw
        self._stream.pix_fmt = self._pixel_format
        self._stream.codec_context.time_base = _TICK
        tags = self._maker.tags(frame)
        self._stream.codec_context.color_range, self._stream.codec_context.colorspace = tags.colour_range, tags.matrix

    def actions(self) -> list[Action]:
        """See :class:`revisage.streams.showing.Display`."""
        return []

    def close(self) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        if self._container is not None:
            container, self._container = self._container, None
            try:
                container.mux(self._stream.encode(None))
            finally:
                container.close()

    def abort(self) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        with contextlib.suppress(OSError):
            self.close()


class Recording:
    """A file that takes its name when the session has ended; a session that fails leaves what it has filmed.

    Args:
        path: of the file; its ending decides about the container.
        overwrite: replace what has that name.

    Raises:
        OutputError: it cannot be written, or not as what its name says.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        check_file(path, overwrite=overwrite)
        if path.suffix.lower() not in _ENCODERS:
            kinds = ", ".join(sorted(_ENCODERS))
            raise OutputError(f"{path}: a live source is recorded as {kinds}; or --to mjpeg, pipe, window")
        self._path, self._partial = path, partial_path(path)
        encoder, options = _ENCODERS[path.suffix.lower()]
        self._writer = StreamWriter(
            str(self._partial), muxer=None, encoder=encoder, options=options, pixel_format="yuv420p"
        )

    def show(self, frame: Frame) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        with media.muxing(self._path):
            self._writer.show(frame)

    def actions(self) -> list[Action]:
        """See :class:`revisage.streams.showing.Display`."""
        return []

    def close(self) -> None:
        """See :class:`revisage.streams.showing.Display`.

        Raises:
            OutputError: no frame came, or the rest cannot be written.
        """
        with media.muxing(self._path):
            self._writer.close()
            if not self._partial.exists():
                raise OutputError(f"{self._path}: no frame came, nothing was recorded")
            self._partial.replace(self._path)

    def abort(self) -> None:
        """See :class:`revisage.streams.showing.Display`. What was filmed cannot be filmed again: it is kept."""
        self._writer.abort()
        if self._partial.exists():
            self._partial.replace(self._path)
