"""MediaInfo: what a file holds, told without decoding more than its first frame."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

__all__ = ["Chapter", "ColourTags", "ContentLight", "MasteringDisplay", "MediaInfo", "StreamInfo", "probe"]


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
        pixel_format: FFmpeg's name.
        bit_depth: of a sample.
        colour: tags as stated.
        rotation: degrees that players turn the stored picture anticlockwise; 0, 90, 180 or 270.
        display_matrix: the nine integers behind the rotation; None without.
        sample_aspect_ratio: width over height of a stored pixel.
        fields: ``progressive``, or which field of interlaced pictures comes first.
        has_alpha: whether pixels have an opacity.
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
    pixel_format: str = ""
    bit_depth: int = 8
    colour: ColourTags = ColourTags()
    rotation: int = 0
    display_matrix: tuple[int, ...] | None = None
    sample_aspect_ratio: Fraction = Fraction(1)
    fields: Literal["progressive", "top", "bottom"] = "progressive"
    has_alpha: bool = False
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
        return {**values, "interlaced": self.interlaced}


def _plain(value: Any) -> Any:
    if isinstance(value, (Fraction, Path)):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def probe(path: Path | str) -> MediaInfo:
    """What a video, an animation or a picture holds.

    Raises:
        InputError: no such file, or nothing in it that has frames.
    """
    from revisage.media.source import open_source

    with open_source(path) as source:
        return source.info
