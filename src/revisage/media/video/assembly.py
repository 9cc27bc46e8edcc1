"""The finished file: segments joined without encoding again, everything else of the source copied as packets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from math import ceil, lcm
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer, OutputContainer

from revisage.core import OutputError
from revisage.media.formats import Format, format_written_by, video_format
from revisage.media.frame import Frame
from revisage.media.interface import EncodeOptions, MediaInfo
from revisage.media.video.joined_packets import CopiedFrames, JoinedPackets
from revisage.media.video.other_streams import (
    Carried,
    carry_streams,
    is_cover,
    kept_chapters,
    kept_tags,
    stream_name,
    stream_tags,
)
from revisage.media.video.pixel_aspect import agrees, put_aspect
from revisage.media.video.probing import SourceClock, open_container, open_file, read_info, says_alpha
from revisage.media.video.segment_sink import FIELD_ORDERS, muxing, open_segment
from revisage.media.video.shortfalls import shortfalls

__all__ = ["AssembleResult", "assemble", "try_assembly"]

_OF_PHONES = ("com.apple.", "com.android.", "com.google.", "com.xiaomi.", "com.samsung.")
"""Tags that MOV and MP4 hold only in the newer of their two lists of tags."""

_SMALL = 64
"""Sides (px) of a picture to try with."""

_TRIED = 200
"""Packets of the other streams that an output is tried with."""

_MILLISECOND = Fraction(1, 1000)
_LARGEST_TIMESCALE = 2**31 - 1
"""What FFmpeg's 32-bit time bases hold."""


@dataclass(frozen=True)
class AssembleResult:
    """What came of joining.

    Attributes:
        frames: of the video.
        notes: what could not be kept or had to be changed, one line each.
    """

    frames: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Span:
    """The part of the source's time that is kept, and where it goes."""

    start: Fraction | None
    end: Fraction | None
    shift: Fraction

    def keeps(self, time: Fraction) -> bool:
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)


class _Rise:
    """Lets decoding times of each stream rise, which containers insist on: one that does not comes a little later."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._moved: dict[int, int] = {}

    def straighten(self, packet: av.Packet) -> None:
        """Move a packet's times in place, if need be."""
        if packet.dts is None:
            return
        last = self._last.get(packet.stream_index)
        if last is not None and packet.dts <= last:
            # By a millisecond, and not by a tick of the source: the output may count in longer ones.
            packet.dts = last + max(1, ceil(_MILLISECOND / packet.time_base))
            packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
            self._moved[packet.stream_index] = self._moved.get(packet.stream_index, 0) + 1
        self._last[packet.stream_index] = packet.dts

    def notes(self, source: InputContainer) -> list[str]:
        """What was moved, one line a stream."""
        return [
            f"{stream_name(source.streams[index])}: repeated or falling times of {count} packet{'s'[: count - 1]} "
            "were moved a little later"
            for index, count in sorted(self._moved.items())
        ]


def assemble(
    segments: Sequence[Path | CopiedFrames],
    source_path: Path,
    output: Path,
    *,
    source_info: MediaInfo,
    options: EncodeOptions,
    label: str = "",
) -> AssembleResult:
    """Join segments into the output, and copy audio, subtitles, data, attachments, chapters and tags of the source.

    Times stay as they are in the source. Where only a part of it was restored, the first frame moves to zero and all
    else by the same; of other streams the packets of that part are kept.

    Args:
        segments: files of :func:`revisage.media.open_segment`, and parts of the source that are copied, in order.
        source_path: what they were made from.
        output: where to write; its ending decides about the container.
        source_info: of the source.
        options: as the segments were encoded.
        label: one line more for the comment of the file.

    Raises:
        ProcessingError: the segments do not fit together.
        OutputError, DiskFullError: the output cannot be written.
    """
    source_info = replace(source_info, path=source_path)
    joined = JoinedPackets(segments, source_info)
    container_format = format_written_by(options.muxer) if options.muxer else video_format(output)
    span = _span(source_path, source_info, joined)
    if container_format.clock == "rate" and span.start is None:
        # What fills a sound decoder before time zero would push all streams on, pictures by whole frames.
        span = replace(span, start=span.shift)
    notes = _joined(joined, source_info, output, container_format, span, label=label)
    after = _with_aspect(output, source_info)
    muxer = container_format.writer or ""
    notes += shortfalls(source_info, after, muxer, is_even=joined.is_even, codec_asked=options.codec is not None)
    return AssembleResult(joined.frames, tuple(notes))


def _tags(source: InputContainer, label: str) -> dict[str, str]:
    """The tags of the source; a label is a further line of its comment."""
    tags = kept_tags(source.metadata)
    if label:
        key = next((key for key in tags if key.lower() == "comment"), "comment")
        tags[key] = "\n".join([*filter(None, [tags.get(key)]), label])
    return tags


def _with_aspect(output: Path, info: MediaInfo) -> MediaInfo:
    """What the finished file is, with the source's aspect of pixels where its header has a place for it."""
    after = read_info(output)
    if agrees(after.sample_aspect_ratio, info.sample_aspect_ratio, info.width):
        return after
    return read_info(output) if put_aspect(output, info.sample_aspect_ratio) else after


def try_assembly(info: MediaInfo, output: Path, options: EncodeOptions) -> None:
    """Write a small file as the output will be: a picture by its encoder, and the first packets of all else.

    Args:
        info: of the source.
        output: whose name's ending decides about the container; nothing is written there.
        options: how it is to be encoded.

    Raises:
        OutputError: the container refuses something that the source's streams, tags or chapters have.
        DiskFullError: no space is left for temporary files.
    """
    small = replace(options, size_hw=(_SMALL, _SMALL))
    frame = Frame.from_array(
        np.zeros((_SMALL, _SMALL, 3), np.uint8), pts=info.start_pts, time_base=info.time_base, duration=1
    )
    with TemporaryDirectory(prefix="revisage") as folder:
        segment, trial = (Path(folder) / f"{name}{output.suffix}" for name in ("segment", "trial"))
        sink = open_segment(segment, info, small)
        sink.write(frame)
        sink.close()
        joined = JoinedPackets([segment], info)
        everything = _Span(None, None, Fraction(0))
        try:
            _joined(joined, info, trial, video_format(output), everything, packets=_TRIED)
        except OutputError as error:
            reason = str(error).rpartition(": ")[2]
            raise OutputError(
                f"{output}: this container refuses what the source holds ({reason}); name it .mkv or .mp4"
            ) from None


def _joined(
    joined: JoinedPackets,
    info: MediaInfo,
    output: Path,
    container_format: Format,
    span: _Span,
    *,
    label: str = "",
    packets: int | None = None,
) -> list[str]:
    """Write the output, of the other streams no more than a number of ``packets``; returns notes."""
    with open_container(info.path) as source, muxing(output):
        container = av.open(
            str(output),
            "w",
            format=container_format.writer,
            container_options=_muxer_options(container_format, source, info),
        )
        try:
            container.metadata.update(_tags(source, label))
            notes = _write(source, container, joined, info, span, packets)
        except BaseException:
            _discard(container, output)
            raise
        container.close()
    return notes


def _write(
    source: InputContainer,
    container: OutputContainer,
    joined: JoinedPackets,
    info: MediaInfo,
    span: _Span,
    packets: int | None,
) -> list[str]:
    container.set_chapters(cast(Any, kept_chapters(source, span.start, span.end, span.shift)))
    with open_file(joined.template) as template:
        video = source.streams[info.video_index]
        before = carry_streams(info.path, container, [s for s in source.streams if s.index < video.index])
        stream = _video_stream(container, template, joined, video, info)
        stream.time_base = ticks = _ticks(container, joined, info)
        after = carry_streams(info.path, container, [s for s in source.streams if s.index > video.index])
    carried = {**before.streams, **after.streams}
    container.start_encoding()
    rise = _Rise()
    others = islice(_other_packets(info.path, source, carried, span, rise), packets)
    _interleave(container, stream, _video_packets(joined, span, ticks), others)
    for one in carried.values():
        container.mux(one.finish())
    return [*before.notes, *after.notes, *rise.notes(source)]


def _video_stream(
    container: OutputContainer, template: InputContainer, joined: JoinedPackets, source: Any, info: MediaInfo
) -> Any:
    pattern: Any = template.streams[info.video_index] if joined.template == info.path else template.streams.video[0]
    stream: Any = container.add_stream_from_template(pattern, opaque=True)
    label, header = joined.label, joined.header
    context = stream.codec_context
    if header is not None:
        context.extradata = header
    context.sample_aspect_ratio = info.sample_aspect_ratio
    context.color_range, context.colorspace = label.colour.colour_range, label.colour.matrix
    context.color_primaries, context.color_trc = label.colour.primaries, label.colour.transfer
    if context.codec.canonical_name == "hevc" and format_written_by(container.format.name).clock == "scaled":
        context.codec_tag = "hvc1"  # Apple's players refuse hev1, which FFmpeg writes by itself
    context.framerate = info.average_rate or Fraction(25)
    context.field_order = FIELD_ORDERS[label.fields]
    stream.disposition = source.disposition
    stream.metadata.update(stream_tags(container, source))
    stream.metadata.pop("alpha_mode", None)
    if says_alpha(pattern) if joined.template == info.path else template.format.name.startswith("matroska"):
        stream.metadata["alpha_mode"] = "1"
    if info.display_matrix is not None:
        stream.set_display_matrix(info.display_matrix)
    return stream


def _interleave(
    container: OutputContainer, stream: Any, video: Iterator[av.Packet], others: Iterator[tuple[Fraction, list[Any]]]
) -> None:
    """Write video and other packets in the order of their times, as the others come from the source."""
    waiting = next(video, None)
    for time, packets in others:
        while waiting is not None and _time(waiting) <= time:
            waiting.stream = stream
            container.mux(waiting)
            waiting = next(video, None)
        container.mux(packets)
    while waiting is not None:
        waiting.stream = stream
        container.mux(waiting)
        waiting = next(video, None)


def _time(packet: av.Packet) -> Fraction:
    return (packet.dts or 0) * packet.time_base


def _ticks(container: OutputContainer, joined: JoinedPackets, info: MediaInfo) -> Fraction:
    """What times are counted in: frames where the container has one rate for all, and all fit that; else as the source.

    AVI would have a thousand frames a second of a source that counts milliseconds, most of them empty.
    """
    rate = info.average_rate
    if format_written_by(container.format.name).clock != "rate" or not rate:
        return info.time_base
    places = [round(pts * info.time_base * rate) for pts in joined.times]
    return 1 / rate if all(earlier < later for earlier, later in pairwise(places)) else info.time_base


def _video_packets(joined: JoinedPackets, span: _Span, ticks: Fraction) -> Iterator[av.Packet]:
    for packet in joined.packets():
        shift = round(span.shift / packet.time_base)
        pts, dts = (packet.pts or 0) - shift, (packet.dts or 0) - shift
        scale = packet.time_base / ticks
        packet.time_base = ticks
        packet.pts, packet.dts = round(pts * scale), round(dts * scale)
        packet.duration = max(1, round((packet.duration or 0) * scale)) if scale != 1 else packet.duration
        yield packet


def _other_packets(
    path: Path, source: InputContainer, carried: dict[int, Carried], span: _Span, rise: _Rise
) -> Iterator[tuple[Fraction, list[Any]]]:
    if not carried:
        return
    for packet in _readable(source, path, [source.streams[index] for index in carried]):
        if packet.size and is_cover(packet.stream):
            yield Fraction(0), carried[packet.stream_index].take(packet)
            continue
        when = packet.pts if packet.pts is not None else packet.dts
        if not packet.size or when is None or not span.keeps(when * packet.time_base):
            continue
        shift = round(span.shift / packet.time_base)
        time = (packet.dts if packet.dts is not None else when) * packet.time_base - span.shift
        packet.pts = packet.pts - shift if packet.pts is not None else None
        packet.dts = packet.dts - shift if packet.dts is not None else None
        rise.straighten(packet)
        yield time, carried[packet.stream_index].take(packet)


def _readable(source: InputContainer, path: Path, streams: list[Any]) -> Iterator[av.Packet]:
    """Packets until the data ends or cannot be read on; reading the frames has already told of that."""
    packets = source.demux(streams)
    clock = SourceClock(path, source.format.name)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
        if packet.size:
            clock.straighten(packet)
        yield packet


def _span(path: Path, info: MediaInfo, joined: JoinedPackets) -> _Span:
    base = info.time_base
    start = joined.first_pts if joined.first_pts > info.start_pts else None
    is_whole = start is None and info.frame_count == joined.frames
    end = None if is_whole else _next_pts(path, info, joined.last_pts)
    return _Span(
        None if start is None else start * base,
        None if end is None else end * base,
        # Times below zero, of a transport stream whose clock runs over, would be cut off in the output.
        joined.first_pts * base if start is not None or joined.first_pts < 0 else Fraction(0),
    )


def _next_pts(path: Path, info: MediaInfo, last_pts: int) -> int | None:
    """The pts of the source's frame after the last one restored; None if that was its last."""
    following = None
    with open_container(path) as container:
        for packet in _readable(container, path, [container.streams[info.video_index]]):
            if packet.pts is not None and packet.pts > last_pts and not packet.is_discard:
                following = packet.pts if following is None else min(following, packet.pts)
    return following


def _muxer_options(container: Format, source: InputContainer, info: MediaInfo) -> dict[str, str]:
    """Options that keep times exact and leave out the date and the muxer's version."""
    options = {"fflags": "+bitexact", **dict(container.options)}
    if container.clock == "scaled" and any(key.startswith(_OF_PHONES) for key in source.metadata):
        options["movflags"] = "+use_metadata_tags"
    if container.clock == "scaled":
        scale = info.time_base.denominator
        rates = [stream.codec_context.sample_rate for stream in source.streams.audio if stream.codec_context]
        options["video_track_timescale"] = str(scale)
        common = lcm(scale, *(rate for rate in rates if rate))
        # Where a track begins is written in this scale; in milliseconds, the default, late starts would be rounded.
        options["movie_timescale"] = str(common if common <= _LARGEST_TIMESCALE else scale)
    return options


def _discard(container: OutputContainer, output: Path) -> None:
    with suppress(OSError, av.error.FFmpegError):
        container.close()
    output.unlink(missing_ok=True)
