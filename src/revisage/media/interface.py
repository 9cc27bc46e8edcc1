"""What all kinds of media have in common: what a file holds, how frames are read and written; and both in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from revisage.core import InputError, OutputError

if TYPE_CHECKING:
    from revisage.media.frame import Frame

__all__ = [
    "Chapter",
    "ColourTags",
    "ContentLight",
    "EncodeOptions",
    "Extent",
    "MasteringDisplay",
    "MediaInfo",
    "MemorySink",
    "MemorySource",
    "OpenSource",
    "Sink",
    "Source",
    "StreamInfo",
]


@dataclass(frozen=True)
class ColourTags:
    """ITU-T H.273 code points as the file states them; 2 (0 for the range) means unspecified.

    Attributes:
        colour_range: 0 unknown, 1 limited, 2 full.
        matrix: matrix coefficients.
        primaries: colour primaries.
        transfer: transfer characteristics; 16 is PQ, 18 HLG.
    """

    colour_range: int = 0
    matrix: int = 2
    primaries: int = 2
    transfer: int = 2


@dataclass(frozen=True)
class MasteringDisplay:
    """SMPTE ST 2086: the display that a picture was graded on.

    Attributes:
        primaries_xy: of red, green and blue, then the white point: CIE x and y; empty when not stated.
        luminance: least and greatest, in cd/m²; empty when not stated.
    """

    primaries_xy: tuple[tuple[Fraction, Fraction], ...]
    luminance: tuple[Fraction, ...]


@dataclass(frozen=True)
class ContentLight:
    """CTA-861.3: greatest light of a pixel and of a frame's average, in cd/m²."""

    maximum: int
    frame_average: int


@dataclass(frozen=True)
class StreamInfo:
    """One stream beside the video.

    Attributes:
        index: in the container.
        kind: ``audio``, ``subtitle``, ``data``, ``attachment`` or ``video`` (cover pictures, further angles).
        codec: FFmpeg's name; empty when unknown.
        language: as tagged.
        title: as tagged.
        sample_rate: Hz, of audio.
        channels: of audio.
        disposition: FFmpeg's bit set (1 is "default").
    """

    index: int
    kind: str
    codec: str
    language: str = ""
    title: str = ""
    sample_rate: int | None = None
    channels: int | None = None
    disposition: int = 0


@dataclass(frozen=True)
class Chapter:
    """A chapter: start and end in seconds."""

    start: Fraction
    end: Fraction
    title: str = ""


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds.

    Attributes:
        path: of the file.
        kind: ``video``, ``animation`` or ``image``.
        container: FFmpeg's name of the format, or Pillow's of a picture.
        codec: FFmpeg's name of the video codec.
        width: upright, in px.
        height: upright, in px.
        frame_count: as the container states it; None when it does not.
        duration: of the video in seconds; None when unknown.
        average_rate: frames per second, exact; None when unknown.
        time_base: seconds per unit of pts.
        start_pts: pts of the first frame, in ``time_base``.
        unshown: seconds of pictures before it that cannot be shown, as in recordings that were cut between key frames;
            None without, and where that counts as damage.
        pixel_format: FFmpeg's name.
        bit_depth: of a sample.
        colour: tags as stated.
        rotation: degrees that players turn the stored picture anticlockwise; 0, 90, 180 or 270.
        display_matrix: the nine integers behind the rotation; None without.
        sample_aspect_ratio: width over height of a stored pixel.
        fields: ``progressive``, or which field of interlaced pictures comes first.
        has_alpha: whether pixels have an opacity.
        has_captions: whether captions of broadcasts (CEA-608, CEA-708) lie inside the pictures' data.
        is_spherical: whether it says that it shows all directions (360°).
        loop: how often an animation plays, 0 for ever; None when it does not say.
        mastering_display: of HDR video.
        content_light: of HDR video.
        video_index: number of the video stream in the container.
        streams: all other streams.
        chapters: in order.
        metadata: tags of the file.
    """

    path: Path
    kind: Literal["video", "animation", "image"]
    container: str
    codec: str
    width: int
    height: int
    frame_count: int | None = None
    duration: Fraction | None = None
    average_rate: Fraction | None = None
    time_base: Fraction = Fraction(1, 1000)
    start_pts: int = 0
    unshown: Fraction | None = None
    pixel_format: str = ""
    bit_depth: int = 8
    colour: ColourTags = ColourTags()
    rotation: int = 0
    display_matrix: tuple[int, ...] | None = None
    sample_aspect_ratio: Fraction = Fraction(1)
    fields: Literal["progressive", "top", "bottom"] = "progressive"
    has_alpha: bool = False
    has_captions: bool = False
    is_spherical: bool = False
    loop: int | None = None
    mastering_display: MasteringDisplay | None = None
    content_light: ContentLight | None = None
    video_index: int = 0
    streams: tuple[StreamInfo, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Upright height and width (px)."""
        return self.height, self.width

    @property
    def interlaced(self) -> bool:
        """Whether pictures are made of two fields."""
        return self.fields != "progressive"

    @property
    def audio(self) -> tuple[StreamInfo, ...]:
        """The audio streams."""
        return tuple(stream for stream in self.streams if stream.kind == "audio")

    @property
    def subtitles(self) -> tuple[StreamInfo, ...]:
        """The subtitle streams."""
        return tuple(stream for stream in self.streams if stream.kind == "subtitle")

    @property
    def attachments(self) -> tuple[StreamInfo, ...]:
        """The attached files."""
        return tuple(stream for stream in self.streams if stream.kind == "attachment")

    def to_json(self) -> dict[str, Any]:
        """JSON values: fractions as text, the path as text."""
        values = {entry.name: _plain(getattr(self, entry.name)) for entry in fields(self)}
        return {**values, "path": str(self.path), "interlaced": self.interlaced}


def _plain(value: Any) -> Any:
    if isinstance(value, (Fraction, Path)):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


@dataclass(frozen=True)
class Extent:
    """What a file would take to decode.

    Attributes:
        kind: ``video``, ``animation`` or ``image``.
        width, height: in px; upright, but of a video as stored (how it is turned stands beside its first picture).
        duration: in seconds; None of an image, and when unknown.
        frame_count: as the file states it; None when it does not.
        average_rate: frames per second; None when unknown.
    """

    kind: Literal["video", "animation", "image"]
    width: int
    height: int
    duration: Fraction | None = None
    frame_count: int | None = None
    average_rate: Fraction | None = None


class Source(Protocol):
    """Frames of one file; a context manager.

    Attributes:
        info: what the file holds.
        warnings: damage met while reading, one line each.
        truncated: data ended or broke before the container said so.
    """

    info: MediaInfo
    warnings: list[str]
    truncated: bool

    def frames(self, first: int = 0, stop: int | None = None, *, first_pts: int | None = None) -> Iterator[Frame]:
        """Frames in order of presentation.

        Args:
            first: number of the first frame wanted, counted from 0.
            stop: number after the last frame wanted; None for all.
            first_pts: pts of frame ``first``, as met when the source was read from its start. With it a video
                is not decoded from its start.

        Raises:
            InputError: nothing can be read.
        """

    @property
    def seeks(self) -> bool:
        """Whether :meth:`frames_since` need not read all that lies before."""

    @property
    def is_damaged(self) -> bool:
        """Whether damage was met so far, told in ``warnings`` or yet to be told there."""

    def frames_since(self, pts: int, *, within: int) -> Iterator[Frame]:
        """Frames from the first one at or after a time; of an undamaged source those that reading all of it gives.

        Args:
            pts: in ``info.time_base``.
            within: units of time before ``pts`` from which decoding may begin.

        Raises:
            InputError: nothing can be read.
            ProcessingError: there is no key frame within so much.
        """

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


Opened = TypeVar("Opened", bound="OpenSource")


class OpenSource:
    """A source as a context manager that has nothing to close: its files are open only while frames are read."""

    warnings: list[str]
    truncated: bool

    @property
    def seeks(self) -> bool:
        """See :attr:`Source.seeks`."""
        return False

    @property
    def is_damaged(self) -> bool:
        """See :attr:`Source.is_damaged`."""
        return bool(self.warnings) or self.truncated

    def frames_since(self: Source, pts: int, *, within: int) -> Iterator[Frame]:  # noqa: ARG002
        """See :meth:`Source.frames_since`."""
        return (frame for frame in self.frames() if frame.pts >= pts)

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


@dataclass(frozen=True)
class EncodeOptions:
    """How the output is to be encoded; None leaves the choice to the source's own codec and format.

    Attributes:
        codec: name of an FFmpeg encoder or codec (``libx264``, ``h264``).
        crf: quality of the encoder, lower is better.
        encoder_preset: speed preset of the encoder.
        pixel_format: FFmpeg's name of the output's pixel format.
        size_hw: upright size of the output in px; the source's when None.
        muxer: FFmpeg's name of the container; the ending of the output's name decides when None.
        parameter_set: of H.264: the number of its parameter sets, for them to stand beside those of copied packets.
    """

    codec: str | None = None
    crf: float | None = None
    encoder_preset: str | None = None
    pixel_format: str | None = None
    size_hw: tuple[int, int] | None = None
    muxer: str | None = None
    parameter_set: int = 0


class Sink(Protocol):
    """Takes the frames of one segment or one whole image, in order of presentation."""

    def write(self, frame: Frame) -> None:
        """Encode one frame.

        Raises:
            DiskFullError: no space is left.
            OutputError: it cannot be written.
        """

    def close(self) -> None:
        """Finish the file; without this it is not complete.

        Raises:
            DiskFullError: no space is left.
            OutputError: no frame was written, or the file cannot be.
        """

    def abort(self) -> None:
        """Give up and remove what was written. Does nothing after :meth:`close`."""


class MemorySource(OpenSource):
    """Frames that are held in memory, as a :class:`Source`: for tests, and for callers who have no file.

    Args:
        frames: in order of presentation, of one size.
        info: what :attr:`Source.info` tells; by default a video of that size without a name.

    Raises:
        InputError: there are no frames, or their times do not rise.
    """

    def __init__(self, frames: Iterable[Frame], info: MediaInfo | None = None) -> None:
        self._frames = [replace(frame, index=index) for index, frame in enumerate(frames)]
        times = [frame.pts * frame.time_base for frame in self._frames]
        if not times or any(later <= earlier for earlier, later in pairwise(times)):
            raise InputError("a source in memory needs frames, at times that rise")
        self.info = info or self._told()
        self.warnings: list[str] = []
        self.truncated = False

    def frames(self, first: int = 0, stop: int | None = None, *, first_pts: int | None = None) -> Iterator[Frame]:
        """See :meth:`Source.frames`."""
        for frame in self._frames[first:stop]:
            if first_pts is None or frame.pts >= first_pts:
                yield frame

    def _told(self) -> MediaInfo:
        first, last = self._frames[0], self._frames[-1]
        length = (last.pts + (last.duration or 0) - first.pts) * first.time_base
        return MediaInfo(
            path=Path("memory"),
            kind="video",
            container="memory",
            codec="",
            width=first.size_hw[1],
            height=first.size_hw[0],
            frame_count=len(self._frames),
            duration=length or None,
            average_rate=len(self._frames) / length if length else None,
            time_base=first.time_base,
            start_pts=first.pts,
            pixel_format=first.layout.name,
            bit_depth=first.layout.depth,
            fields=first.fields,
            has_alpha=first.layout.has_alpha,
        )


class MemorySink:
    """Keeps the frames that are written to it, as a :class:`Sink`.

    Attributes:
        frames: in the order in which they came; none after :meth:`abort`.
        closed: whether it was finished.
    """

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.closed = False

    def write(self, frame: Frame) -> None:
        """See :meth:`Sink.write`."""
        self.frames.append(frame)

    def close(self) -> None:
        """See :meth:`Sink.close`.

        Raises:
            OutputError: no frame was written.
        """
        if not self.frames:
            raise OutputError("there is no frame to write")
        self.closed = True

    def abort(self) -> None:
        """See :meth:`Sink.abort`."""
        if not self.closed:
            self.frames.clear()
