"""One segment of a video, encoded by itself into an intermediate file that keeps exact times."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from revisage.core import DiskFullError, OutputError, ProcessingError
from revisage.media.encoders import encoder_options, resolve_options
from revisage.media.formats import can_hold
from revisage.media.frame import Frame
from revisage.media.info import ColourTags, MediaInfo
from revisage.media.native import FrameMaker, native_format
from revisage.media.priority import ordinary_priority
from revisage.media.sink import EncodeOptions

__all__ = ["FIELD_ORDERS", "SegmentLabel", "SegmentSink", "output_errors"]

_LABEL = "comment"
"""The one tag that all containers of segments keep."""

_LEAD = 64
"""Time in a segment file begins here, because its muxer would move decoding times below zero."""

_GLOBAL_HEADER, _INTERLACED = 1 << 22, (1 << 18) | (1 << 29)
FIELD_ORDERS = {"progressive": 1, "top": 2, "bottom": 3}
"""FFmpeg's numbers for the order of fields."""


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn what FFmpeg and the system say about a file being written into our errors.

    Raises:
        DiskFullError: no space is left.
        OutputError: anything else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise DiskFullError(f"{path}: no space is left on the device; free some, or name another folder") from None
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None
    except av.error.FFmpegError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None


@dataclass(frozen=True)
class SegmentLabel:
    """What a segment file says of itself, because its container could not.

    Attributes:
        first_pts: true time of its first frame, in the source's time base.
        fields: whether its pictures are interlaced, and which field comes first.
        colour: tags of its pictures.
    """

    first_pts: int
    fields: str
    colour: ColourTags

    def to_text(self) -> str:
        """As :meth:`read` takes it."""
        return json.dumps([self.first_pts, self.fields, *astuple(self.colour)])

    @staticmethod
    def read(container: InputContainer) -> SegmentLabel:
        """The label of an opened segment.

        Raises:
            ProcessingError: it has none.
        """
        try:
            first_pts, fields, *colour = json.loads(container.metadata[_LABEL])
            return SegmentLabel(first_pts, fields, ColourTags(*colour))
        except (KeyError, ValueError, TypeError):
            raise ProcessingError(f"{container.name} is not a segment of a video, or is damaged") from None


class SegmentSink:
    """Encodes frames in order; opened by the first, which settles size and format.

    The encoder counts frames; the true times are put back on its packets. So every time is kept exactly, whatever
    time base an encoder likes.
    """

    def __init__(self, path: Path, info: MediaInfo, options: EncodeOptions) -> None:
        self._path, self._info = path, info
        self._options = resolve_options(info, path, options)
        self._rate = _rate(info, self._options.codec)
        self._times: list[tuple[int, int | None]] = []
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._maker: FrameMaker | None = None
        self._done = False

    def write(self, frame: Frame) -> None:
        """See :meth:`revisage.media.sink.Sink.write`."""
        with output_errors(self._path):
            if self._stream is None:
                self._open(frame)
            assert self._stream is not None and self._maker is not None
            native = self._maker.encodable(frame)
            native.pts, native.time_base = len(self._times), 1 / self._rate
            self._times.append((frame.pts, frame.duration))
            self._mux(self._stream.encode(native))

    def close(self) -> None:
        """See :meth:`revisage.media.sink.Sink.close`."""
        if self._done:
            return
        if self._stream is None:
            raise OutputError(f"{self._path}: no frame was written")
        with output_errors(self._path):
            self._mux(self._stream.encode(None))
            assert self._container is not None
            self._container.close()
        self._done = True

    def abort(self) -> None:
        """See :meth:`revisage.media.sink.Sink.abort`."""
        if self._done:
            return
        self._done = True
        if self._container is not None:
            with suppress(OSError, av.error.FFmpegError):
                self._container.close()
        self._path.unlink(missing_ok=True)

    def _open(self, frame: Frame) -> None:
        encoder = self._options.codec or ""
        # NUT keeps any time base; MOV takes the few codecs that NUT has no tag for.
        muxer = "nut" if can_hold("nut", encoder) else "mov"
        self._container = av.open(str(self._path), "w", format=muxer, container_options={"fflags": "+bitexact"})
        options = encoder_options(self._options, self._info)
        stream = cast(VideoStream, self._container.add_stream(encoder, rate=self._rate, options=options))
        self._maker = FrameMaker(self._info.colour, self._options.pixel_format or native_format(frame.layout.name))
        self._describe(stream, frame)
        with ordinary_priority():
            stream.codec_context.open(strict=False)
        label = SegmentLabel(frame.pts, frame.fields, self._maker.tags(frame))
        self._container.metadata[_LABEL] = label.to_text()
        self._stream = stream

    def _describe(self, stream: VideoStream, frame: Frame) -> None:
        assert self._maker is not None
        context = stream.codec_context
        context.height, context.width = frame.stored_hw
        context.pix_fmt = self._maker.pixel_format
        context.time_base = 1 / self._rate
        stream.time_base = self._info.time_base
        context.sample_aspect_ratio = self._info.sample_aspect_ratio
        tags = self._maker.tags(frame)
        context.color_range, context.colorspace = tags.colour_range, tags.matrix
        context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        context.field_order = FIELD_ORDERS[frame.fields]
        context.flags |= _GLOBAL_HEADER
        if frame.fields != "progressive" and context.codec.canonical_name in ("h264", "mpeg2video"):
            context.flags |= _INTERLACED

    def _mux(self, packets: list[Any]) -> None:
        assert self._container is not None and self._stream is not None
        for packet in packets:
            number, order = packet.pts, packet.dts
            start = self._times[0][0] - _LEAD
            packet.time_base = self._info.time_base
            packet.pts, packet.duration = self._times[number][0] - start, self._times[number][1] or 0
            packet.dts = self._times[order][0] - start if order >= 0 else _LEAD + order
            packet.stream = self._stream
            self._container.mux(packet)


def _rate(info: MediaInfo, encoder: str | None) -> Fraction:
    rate = info.average_rate
    if not rate or not 0 < rate <= 1000:
        return Fraction(25)
    # MPEG-4 has 16 bits for the ticks of a second. The true times are put on the packets in any case.
    return rate.limit_denominator(int(65535 / rate) if encoder == "mpeg4" else 1_000_000)
