"""What a video container holds: as MediaInfo, and the times of its packets.

Files are opened so that a file can name no other: what was handed in is all that is read.
"""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import av
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideType
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from revisage.core import InputError
from revisage.media.formats import format_of, format_of_content, is_text
from revisage.media.frame import Orientation
from revisage.media.image_file import check_pixels
from revisage.media.interface import (
    Chapter,
    ColourTags,
    ContentLight,
    Extent,
    MasteringDisplay,
    MediaInfo,
    StreamInfo,
)
from revisage.media.locations import RangeReader, is_address
from revisage.media.video.lost_pictures import CUT_ANYWHERE

__all__ = [
    "BROKEN_PACKET",
    "FASTEST",
    "SLOWEST",
    "FileTimes",
    "FrameDecoder",
    "SourceClock",
    "StreamTimes",
    "open_container",
    "open_file",
    "read_info",
    "says_alpha",
    "stream_times",
    "video_extent",
    "video_stream",
]

_TOP_FIRST, _BOTTOM_FIRST = (2, 4), (3, 5)
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these leave transparency out, which lies beside each picture as another one."""

_STILL_DISPOSITIONS = int(av.stream.Disposition.attached_pic) | int(av.stream.Disposition.timed_thumbnails)
_MICROSECOND = Fraction(1, 1_000_000)

SLOWEST, FASTEST = Fraction(1, 3600), 1000
"""Frames per second beyond which no stream's word is taken."""

BROKEN_PACKET = (av.error.InvalidDataError, av.error.ArgumentError)
"""What decoders say of a packet that they cannot read; some call it a wrong argument."""

_FALL, _JUMP = Fraction(1, 2), Fraction(10)
"""Seconds by which times must fall, or leap ahead, to be another clock's: broadcasts lose packets for shorter."""


def open_container(path: Path) -> InputContainer:
    """Open a media file for reading.

    Raises:
        InputError: FFmpeg cannot make sense of it.
    """
    try:
        return open_file(path)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read: {_reason(path, error)}") from None


def _reason(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    if head[4:8] in (b"ftyp", b"mdat", b"moov", b"wide", b"free"):
        return "its index (moov) is missing; the recording or download was cut off"
    if is_text(head):
        return "it holds text, no pictures"
    if isinstance(error, PermissionError):
        return "permission is denied"
    return "it is damaged or of an unknown kind"


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The stream to restore: the first that is not a cover picture.

    Raises:
        InputError: there is none.
    """
    found = [stream for stream in container.streams.video if not int(stream.disposition) & _STILL_DISPOSITIONS]
    if not found:
        what = "only audio" if container.streams.audio else "no video"
        raise InputError(f"{path} holds {what}; there is nothing to restore")
    stream = found[0]
    if stream.codec_context is None:
        raise InputError(f"{path}: this build of FFmpeg has no decoder for its video")
    width, height = stream.codec_context.width, stream.codec_context.height
    if not (width and height):
        # FFmpeg forgets sizes that are beyond its own limit.
        raise InputError(f"{path}: the size of its picture is missing or too large to be true; the file is damaged")
    check_pixels(path, width, height)
    return stream


class FrameDecoder:
    """Decodes packets of a video stream with all that its pictures have.

    Args:
        stream: to decode.
        threaded: on as many threads as serve, which makes the first frame late.

    Attributes:
        marks_keys: key frames say that they are; libvpx, which gives a frame for each packet at once, does not.
    """

    def __init__(self, stream: VideoStream, *, threaded: bool = False) -> None:
        self.marks_keys = True
        self._own: VideoCodecContext | None = None
        name = _ALPHA_DECODERS.get(stream.codec_context.codec.canonical_name)
        if name is not None and says_alpha(stream):
            with suppress(ValueError):  # a build without libvpx
                self._own = cast(VideoCodecContext, av.CodecContext.create(name, "r"))
                self._own.extradata = stream.codec_context.extradata
                self.marks_keys = False
        if threaded:
            (self._own or stream).thread_type = "AUTO"

    def decode(self, packet: av.Packet) -> list[av.VideoFrame]:
        """The frames that a packet completes; an empty one ends the stream.

        Raises:
            av.error.FFmpegError: it is damaged.
        """
        if self._own is None:
            return packet.decode()
        return self._own.decode(packet) if packet.size else []


def says_alpha(stream: VideoStream) -> bool:
    """Whether a Matroska or WebM file says that a stream's pictures have transparency beside them."""
    return {key.lower(): value for key, value in stream.metadata.items()}.get("alpha_mode") == "1"


def read_info(path: Path) -> MediaInfo:
    """Look into a video and decode its first frame.

    Raises:
        InputError: it is no video, or no frame of it can be decoded.
    """
    with open_container(path) as container:
        stream = video_stream(container, path)
        frame, unshown = _first_frame(container, stream, path)
        context = stream.codec_context
        matrix = _display_matrix(frame)
        upright = Orientation.from_matrix(matrix) if matrix else Orientation()
        height, width = upright.size((frame.height, frame.width))
        check_pixels(path, width, height)
        return MediaInfo(
            path=path,
            kind="video",
            container=container.format.name,
            codec=context.codec.canonical_name,
            width=width,
            height=height,
            frame_count=stream.frames or None,
            duration=_stated_duration(container, stream),
            average_rate=_rate(stream, frame),
            time_base=stream.time_base or Fraction(1, 1000),
            start_pts=frame.pts or 0,
            unshown=unshown if container.format.name in CUT_ANYWHERE else None,
            pixel_format=frame.format.name,
            bit_depth=max(component.bits for component in frame.format.components),
            colour=ColourTags(
                int(frame.color_range), int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)
            ),
            rotation=frame.rotation % 360,
            display_matrix=matrix,
            sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
            fields=_fields(frame, context.field_order, context.codec.canonical_name),
            has_alpha=any(component.is_alpha for component in frame.format.components),
            has_captions=_side_data(frame, SideType.A53_CC) is not None,
            is_spherical=_side_data(frame, SideType.SPHERICAL) is not None,
            mastering_display=_mastering_display(frame),
            content_light=_content_light(frame),
            video_index=stream.index,
            streams=tuple(_stream_info(other) for other in container.streams if other.index != stream.index),
            chapters=tuple(_chapter(chapter) for chapter in container.chapters()),
            metadata=dict(container.metadata),
        )


def video_extent(path: Path) -> Extent:
    """How large and how long a video says it is; nothing is decoded.

    Raises:
        InputError: it cannot be made sense of, or says that it is too large to be real.
    """
    with open_container(path) as container:
        stream = video_stream(container, path)
        return Extent(
            kind="video",
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            duration=_stated_duration(container, stream),
            frame_count=stream.frames or None,
            average_rate=stream.average_rate or stream.guessed_rate,
        )


def _rate(stream: VideoStream, frame: av.VideoFrame) -> Fraction | None:
    """Frames per second; of a bare stream, whose container knows none and says 25, what the stream itself states."""
    own = stream.codec_context.framerate
    if frame.pts is None and own and SLOWEST <= own <= FASTEST:
        return own
    return stream.average_rate or stream.guessed_rate


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> tuple[av.VideoFrame, Fraction | None]:
    """The first frame that can be shown, and how many seconds of pictures are there before it, if any are."""
    begins: int | None = None
    try:
        decoder = FrameDecoder(stream)
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                begins = packet.pts if begins is None else min(begins, packet.pts)
            try:
                frames = decoder.decode(packet)
            except BROKEN_PACKET:
                continue
            if frames:
                return frames[0], _seconds_between(begins, frames[0].pts, stream)
    except av.error.FFmpegError as error:
        raise InputError(f"{path} cannot be decoded: {str(error.strerror).lower()}") from None
    raise InputError(f"{path}: no frame of its video can be decoded")


def _seconds_between(begins: int | None, shown: int | None, stream: VideoStream) -> Fraction | None:
    if begins is None or shown is None or shown <= begins or stream.time_base is None:
        return None
    return (shown - begins) * stream.time_base


def _stated_duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Seconds of the video, as the stream states them, or else the container; None when neither does."""
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    return container.duration * _MICROSECOND if container.duration else None


def _fields(frame: av.VideoFrame, field_order: int, codec: str) -> Literal["progressive", "top", "bottom"]:
    if field_order in _TOP_FIRST:
        return "top"
    if field_order in _BOTTOM_FIRST:
        return "bottom"
    if not frame.interlaced_frame:
        return "progressive"
    return "bottom" if codec == "dvvideo" else "top"


def _nameless(cls: type[SideType], value: object) -> SideType:
    """A kind of side data that PyAV's list, which ends before FFmpeg's, has no name for (EXIF, views of MV-HEVC).

    Without it not one of a frame's side data could be looked at.
    """
    member = object.__new__(cls)
    member.__dict__.update(_name_=f"KIND_{value}", _value_=value)
    return member


SideType._missing_ = classmethod(_nameless)  # type: ignore[method-assign,assignment]


def _side_data(frame: av.VideoFrame, kind: SideType) -> bytes | None:
    side: Any = frame.side_data
    return bytes(side[kind]) if kind in {entry.type for entry in side} else None


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    data = _side_data(frame, SideType.DISPLAYMATRIX)
    return struct.unpack("=9i", data[:36]) if data else None


def _mastering_display(frame: av.VideoFrame) -> MasteringDisplay | None:
    data = _side_data(frame, SideType.MASTERING_DISPLAY_METADATA)
    if not data or len(data) < 88:
        return None
    numbers = struct.unpack("=22i", data[:88])
    values = [Fraction(numbers[i], numbers[i + 1] or 1) for i in range(0, 20, 2)]
    points = tuple((values[i], values[i + 1]) for i in range(0, 8, 2))
    return MasteringDisplay(points if numbers[20] else (), tuple(values[8:10]) if numbers[21] else ())


def _content_light(frame: av.VideoFrame) -> ContentLight | None:
    data = _side_data(frame, SideType.CONTENT_LIGHT_LEVEL)
    return ContentLight(*struct.unpack("=2I", data[:8])) if data else None


def _stream_info(stream: Any) -> StreamInfo:
    context = stream.codec_context
    is_audio = stream.type == "audio" and context is not None
    return StreamInfo(
        index=stream.index,
        kind=stream.type or "unknown",
        codec=(context.codec.canonical_name if context is not None else getattr(stream, "name", None)) or "",
        language=stream.metadata.get("language", ""),
        title=stream.metadata.get("title", ""),
        sample_rate=context.sample_rate if is_audio else None,
        channels=context.layout.nb_channels if is_audio else None,
        disposition=int(stream.disposition),
    )


def _chapter(chapter: Any) -> Chapter:
    base = chapter["time_base"] or Fraction(1, 1000)
    return Chapter(chapter["start"] * base, chapter["end"] * base, chapter["metadata"].get("title", ""))


# fmt: off
_OPEN_OTHERS = frozenset((
    "alsa", "android_camera", "avfoundation", "avisynth", "bktr", "concat", "dash", "decklink", "dshow", "dvdvideo",
    "fbdev", "gdigrab", "hls", "iec61883", "image2", "imf", "jack", "kmsgrab", "lavfi", "libcdio", "libdc1394",
    "oss", "pulse", "rtp", "rtsp", "sap", "sdp", "smoothstreaming", "sndio", "svg_pipe", "vapoursynth", "vfwcap",
    "video4linux2,v4l2", "vobsub", "webm_dash_manifest", "whep", "whip", "x11grab", "xcbgrab",
))
# fmt: on
"""Formats of FFmpeg that are lists of other files or addresses, scripts, or devices."""


def open_file(path: Path) -> InputContainer:
    """Open a media file for reading. Neither its name nor its content can make FFmpeg open anything else.

    Raises:
        av.error.FFmpegError: it cannot be read, or it is a playlist, a script or the like.
    """
    options = {"protocol_whitelist": "file", "format_whitelist": _formats()}
    if is_address(path):
        return av.open(RangeReader(path), "r", metadata_errors="replace", options=options)
    # A relative name might be taken for an address, such as concat:a|b.
    return av.open(str(path.absolute()), "r", _photo_demuxer(path), metadata_errors="replace", options=options)


def _photo_demuxer(path: Path) -> str | None:
    """For a JPEG its own: by such a name FFmpeg takes it for one of a numbered series, which is not allowed here."""
    named = format_of(path.suffix)
    if named is None or named.name != "jpeg":
        return None
    return "jpeg_pipe" if format_of_content(path) is named else None


@lru_cache(maxsize=1)
def _formats() -> str:
    return ",".join(sorted(av.format.formats_available - _OPEN_OTHERS))


@dataclass
class StreamTimes:
    """The packets of one stream.

    Attributes:
        pts: of each packet in seconds, sorted.
        marks: CRC-32 of each packet's bytes, in the order of ``pts``; of audio only.
        stop: end of the last packet, in seconds.
    """

    pts: list[Fraction] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    stop: Fraction = Fraction(0)

    @property
    def start(self) -> Fraction:
        """Of the first packet, in seconds."""
        return self.pts[0]


@dataclass
class FileTimes:
    """The packets of the video and of each audio stream, in the container's order."""

    video: StreamTimes
    audio: list[StreamTimes]


def stream_times(path: Path) -> FileTimes:
    """The packet times of a file's first video stream and of its audio streams; what cannot be read is left out."""
    with open_file(path) as container:
        video = container.streams.video[0]
        streams = [video, *container.streams.audio]
        first = video.index
        times = {stream.index: StreamTimes() for stream in streams}
        clock = SourceClock(path, container.format.name)
        try:
            for packet in container.demux(streams):
                if packet.pts is None or packet.time_base is None:
                    continue
                clock.straighten(packet)
                found = times[packet.stream.index]
                found.pts.append(packet.pts * packet.time_base)
                found.marks.append(0 if packet.stream.index == first else zlib.crc32(bytes(packet)))
                found.stop = max(found.stop, (packet.pts + (packet.duration or 0)) * packet.time_base)
        except av.FFmpegError:
            pass  # a source that breaks off is told of elsewhere
    for found in times.values():
        order = sorted(range(len(found.pts)), key=found.pts.__getitem__)
        found.pts, found.marks = [found.pts[i] for i in order], [found.marks[i] for i in order]
    return FileTimes(times.pop(first), list(times.values()))


class SourceClock:
    """The times of a source's packets, made to go on where the clock of a joined recording starts anew.

    Transport and program streams joined byte by byte, and such as wrap around, begin a new count of time in the
    middle. Each new count is moved by so much that the stream that meets it first goes on where it was; all other
    streams are moved by the same, so that they stay in step.

    Args:
        path: of the source.
        reader: FFmpeg's name of its container; others than MPEG streams are left as they are.
    """

    def __init__(self, path: Path, reader: str) -> None:
        status = path.stat()
        restarts = reader in ("mpegts", "mpeg")
        self._offsets = _offsets(path, status.st_size, status.st_mtime_ns) if restarts else (Fraction(0),)
        self._counts = _Counts()
        self._numbers: dict[int, int] = {}

    @property
    def is_joined(self) -> bool:
        """Whether the clock starts anew somewhere."""
        return len(self._offsets) > 1

    def straighten(self, packet: av.Packet) -> bool:
        """Move a packet's times in place; packets must come in the order of the file.

        Returns:
            Whether its stream's clock starts anew with it.
        """
        if not self.is_joined or packet.time_base is None:
            return False
        count = min(self._counts.number(packet), len(self._offsets) - 1)
        before = self._numbers.get(packet.stream_index, 0)
        self._numbers[packet.stream_index] = count
        shift = round(self._offsets[count] / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift
        return count > before


class _Counts:
    """Which count of time each packet belongs to, by its own stream's decoding times."""

    def __init__(self) -> None:
        self.ends: dict[int, Fraction] = {}
        self._numbers: dict[int, int] = {}
        self._latest = 0

    def number(self, packet: av.Packet) -> int:
        """The count of a packet; sparse streams (subtitles, data) follow the one met last."""
        stream = packet.stream
        if packet.dts is None or stream.type not in ("video", "audio"):
            return self._latest
        time = packet.dts * packet.time_base
        end = self.ends.get(stream.index)
        if end is not None and not end - _FALL <= time <= end + _JUMP:
            self._numbers[stream.index] = self._numbers.get(stream.index, 0) + 1
            self._latest = max(self._latest, self._numbers[stream.index])
        self.ends[stream.index] = time + (packet.duration or 0) * packet.time_base
        return self._numbers.get(stream.index, 0)


@lru_cache(maxsize=16)
def _offsets(path: Path, _size: int, _changed: int) -> tuple[Fraction, ...]:
    """By how many seconds each count of time is moved."""
    offsets, counts = [Fraction(0)], _Counts()
    with open_container(path) as container:
        packets = container.demux()
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                return tuple(offsets)
            if not packet.size or packet.dts is None:
                continue
            end = counts.ends.get(packet.stream.index)
            if counts.number(packet) == len(offsets) and end is not None:
                offsets.append(offsets[-1] + end - packet.dts * packet.time_base)
