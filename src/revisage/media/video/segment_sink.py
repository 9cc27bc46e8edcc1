"""One segment of a video, encoded by itself into an intermediate file that keeps exact times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.filter
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from revisage.core import OutputError, ProcessingError, output_error
from revisage.media.formats import can_hold
from revisage.media.frame import Frame
from revisage.media.image_file import written
from revisage.media.interface import ColourTags, EncodeOptions, MediaInfo, Sink
from revisage.media.video.encoders import BESIDE, encoder_options, has_alpha_plane, ordinary_priority, resolve_options
from revisage.media.video.probing import FASTEST, SLOWEST
from revisage.media.video.source import native_format

__all__ = ["FIELD_ORDERS", "TICK_IN_MATROSKA", "FrameMaker", "SegmentLabel", "frame_maker", "muxing", "open_segment"]

_LABEL = "comment"
"""The one tag that all containers of segments keep."""

_LEAD = 64
"""Time in a segment file begins here, because its muxer would move decoding times below zero."""

_GLOBAL_HEADER, _INTERLACED = 1 << 22, (1 << 18) | (1 << 29)
TICK_IN_MATROSKA = Fraction(1, 1000)
"""What a tick of the source becomes in a segment of Matroska, which counts milliseconds only."""

FIELD_ORDERS = {"progressive": 1, "top": 2, "bottom": 3}
"""FFmpeg's numbers for the order of fields."""


@contextmanager
def muxing(path: Path) -> Iterator[None]:
    """Turn what the system and FFmpeg say about a file being written into our errors.

    Raises:
        DiskFullError: no space is left.
        OutputError: anything else.
    """
    with written(path):
        try:
            yield
        except av.error.FFmpegError as error:
            raise output_error(path, error) from None


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
            tags = {key.lower(): value for key, value in container.metadata.items()}  # Matroska's are in capitals
            first_pts, fields, *colour = json.loads(tags[_LABEL])
            return SegmentLabel(first_pts, fields, ColourTags(*colour))
        except (KeyError, ValueError, TypeError):
            raise ProcessingError(f"{container.name} is not a segment of a video, or is damaged") from None


def open_segment(path: Path, source_info: MediaInfo, options: EncodeOptions) -> Sink:
    """A sink for one segment of a video, to be joined with others by :func:`revisage.media.assemble`.

    Args:
        path: where to write; its ending is that of the output, whose container takes part in choosing the encoder.
        source_info: of the source.
        options: how to encode.

    Raises:
        ConfigError, OutputError: the options do not go together, or the file cannot be written.
    """
    return SegmentSink(path, source_info, options)


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
        self._base = info.time_base
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._maker: FrameMaker | None = None
        self._done = False

    def write(self, frame: Frame) -> None:
        """See :meth:`revisage.media.Sink.write`."""
        with muxing(self._path):
            if self._stream is None:
                self._open(frame)
            assert self._stream is not None and self._maker is not None
            native = self._maker.encodable(frame)
            native.pts, native.time_base = len(self._times), 1 / self._rate
            self._times.append((frame.pts, frame.duration))
            self._mux(self._stream.encode(native))

    def close(self) -> None:
        """See :meth:`revisage.media.Sink.close`.

        Raises:
            OutputError: no frame was written, or the rest cannot be.
        """
        if self._done:
            return
        if self._stream is None:
            raise OutputError(f"{self._path}: no frame was written")
        with muxing(self._path):
            self._mux(self._stream.encode(None))
            assert self._container is not None
            self._container.close()
        self._done = True

    def abort(self) -> None:
        """See :meth:`revisage.media.Sink.abort`."""
        if self._done:
            return
        self._done = True
        if self._container is not None:
            with suppress(OSError, av.error.FFmpegError):
                self._container.close()
        self._path.unlink(missing_ok=True)

    def _open(self, frame: Frame) -> None:
        encoder = self._options.codec or ""
        self._maker = FrameMaker(self._info.colour, self._options.pixel_format or native_format(frame.layout.name))
        muxer = _segment_muxer(encoder, self._maker.pixel_format)
        self._base = self._info.time_base if muxer != "matroska" else TICK_IN_MATROSKA
        self._container = av.open(str(self._path), "w", format=muxer, container_options={"fflags": "+bitexact"})
        options = encoder_options(self._options, self._info)
        stream = cast(VideoStream, self._container.add_stream(encoder, rate=self._rate, options=options))
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
        stream.time_base = self._base
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
            if not -_LEAD <= order <= number:
                order = number  # x265 leaves the decoding times of one or two pictures unset; they are in order
            start = self._times[0][0] - _LEAD
            packet.time_base = self._base
            packet.pts, packet.duration = self._times[number][0] - start, self._times[number][1] or 0
            packet.dts = self._times[order][0] - start if order >= 0 else _LEAD + order
            packet.stream = self._stream
            self._container.mux(packet)


def _segment_muxer(encoder: str, pixel_format: str) -> str:
    """NUT keeps any time base; Matroska the transparency that lies beside pictures of VP8 and VP9; MOV takes the few
    codecs that NUT has no tag for."""
    if encoder in BESIDE and has_alpha_plane(pixel_format):
        return "matroska"
    return "nut" if can_hold("nut", encoder) else "mov"


def _rate(info: MediaInfo, encoder: str | None) -> Fraction:
    rate = info.average_rate
    if not rate or not SLOWEST <= rate <= FASTEST:
        return Fraction(25)
    # MPEG-4 has 16 bits for the ticks of a second. The true times are put on the packets in any case.
    return rate.limit_denominator(int(65535 / rate) if encoder == "mpeg4" else 1_000_000)


def write_planes(target: av.VideoFrame, frame: Frame) -> None:
    """Copy a frame's samples into an FFmpeg frame of the same format and size."""
    for samples, number in zip(frame.planes, frame.layout.planes_in_file, strict=True):
        plane = target.planes[number]
        rows = np.frombuffer(cast(Any, plane), dtype=frame.layout.dtype)
        stride = plane.line_size // frame.layout.dtype.itemsize
        rows[: stride * plane.height].reshape(plane.height, stride)[:, : plane.width] = samples


class FrameMaker:
    """Makes FFmpeg frames for an encoder: with the side data of the decoded ones, in the encoder's format.

    Args:
        tags: of the source's colour.
        pixel_format: that the encoder takes.
    """

    def __init__(self, tags: ColourTags, pixel_format: str) -> None:
        self.pixel_format = pixel_format
        self._tags = tags
        self._graph: av.filter.Graph | None = None
        self._graph_key: tuple[object, ...] = ()

    def tags(self, frame: Frame) -> ColourTags:
        """The colour tags of frames as they reach the encoder."""
        is_rgb, becomes_rgb = frame.layout.family == "rgb", av.VideoFormat(self.pixel_format).is_rgb
        if is_rgb and not becomes_rgb:
            return replace(self._tags, colour_range=_LIMITED, matrix=_BT709)
        if becomes_rgb:
            return replace(self._tags, colour_range=_FULL, matrix=0)
        if self._becomes_jpeg(frame):
            return replace(self._tags, colour_range=_FULL, matrix=_BT601)
        is_marked = frame.layout.name.startswith("yuvj") or frame.layout.family == "grey"
        return replace(self._tags, colour_range=_range(frame)) if is_marked else self._tags

    def encodable(self, frame: Frame) -> av.VideoFrame:
        """An FFmpeg frame with the samples of ``frame``. Its times are not set."""
        native = frame.origin if frame.is_decoded and frame.origin is not None else self._made(frame)
        if native.format.name != self.pixel_format:
            native = self._converted(native, frame)
        tags = self.tags(frame)
        native.color_range, native.colorspace = tags.colour_range, tags.matrix
        native.color_primaries, native.color_trc = tags.primaries, tags.transfer
        # A decoded frame remembers whether it was I, P or B; encoders would take that for an order.
        native.pict_type = 0
        return native

    def _made(self, frame: Frame) -> av.VideoFrame:
        height, width = frame.stored_hw
        if frame.origin is None:
            made = av.VideoFrame(width, height, frame.layout.name)
            if frame.fields != "progressive":
                made = self._filtered(made, f"setfield=mode={'tff' if frame.fields == 'top' else 'bff'}")
        elif (frame.origin.height, frame.origin.width) == (height, width):
            made = self._filtered(frame.origin, "copy")
        else:
            made = self._filtered(frame.origin, f"scale={width}:{height}:flags=neighbor")
        write_planes(made, frame)
        return made

    def _filtered(self, frame: av.VideoFrame, description: str) -> av.VideoFrame:
        """A frame of its own with all properties of another; only FFmpeg's filters can carry them over."""
        key = (frame.width, frame.height, frame.format.name, description)
        if self._graph is None or key != self._graph_key:
            self._graph, self._graph_key = _graph(frame, description), key
        self._graph.vpush(frame)
        return self._graph.vpull()

    def _becomes_jpeg(self, frame: Frame) -> bool:
        """Whether samples become those of JPEG, which knows one matrix and the full range only."""
        return self.pixel_format.startswith("yuvj") and not frame.layout.name.startswith("yuvj")

    def _converted(self, native: av.VideoFrame, frame: Frame) -> av.VideoFrame:
        is_rgb, becomes_rgb = frame.layout.family == "rgb", av.VideoFormat(self.pixel_format).is_rgb
        if is_rgb == becomes_rgb:
            same = _range(frame)
            if not self._becomes_jpeg(frame):
                return native.reformat(format=self.pixel_format, src_color_range=same, dst_color_range=same)
            return native.reformat(
                format=self.pixel_format,
                src_colorspace=_SWSCALE_MATRICES[frame.colour.matrix],
                dst_colorspace="ITU601",
                src_color_range=same,
                dst_color_range=_FULL,
            )
        if is_rgb:
            return native.reformat(format=self.pixel_format, dst_colorspace="ITU709", dst_color_range=_LIMITED)
        matrix = _SWSCALE_MATRICES[frame.colour.matrix]
        return native.reformat(
            format=self.pixel_format, src_colorspace=matrix, src_color_range=_range(frame), dst_color_range=_FULL
        )


def frame_maker(first: Frame, pixel_format: str) -> FrameMaker:
    """A maker of FFmpeg frames for a stream of which no file tells the colour: its first frame does.

    Args:
        first: of the stream.
        pixel_format: that the encoder takes.
    """
    told = first.origin
    if told is None:
        return FrameMaker(ColourTags(colour_range=_range(first)), pixel_format)
    tags = (told.color_range, told.colorspace, told.color_primaries, told.color_trc)
    return FrameMaker(ColourTags(*(int(tag) for tag in tags)), pixel_format)


def _range(frame: Frame) -> int:
    return _FULL if frame.colour.full_range else _LIMITED


def _graph(frame: av.VideoFrame, description: str) -> av.filter.Graph:
    name, _, arguments = description.partition("=")
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    graph.link_nodes(source, graph.add(name, arguments or None), graph.add("buffersink")).configure()
    return graph


_LIMITED, _FULL = 1, 2


_BT709, _BT601 = 1, 5


_SWSCALE_MATRICES = {
    "bt601": "ITU601",
    "bt709": "ITU709",
    "bt2020": "BT2020",
    "smpte240m": "SMPTE240M",
    "fcc": "FCC",
}
