"""The packets of an output's video: of encoded segments, and of the source where it is copied, as one stream."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import av
from av.container import InputContainer

from revisage.core import ProcessingError
from revisage.media.formats import format_of_info
from revisage.media.interface import MediaInfo
from revisage.media.video.parameter_sets import ParameterSets, annex_b_units, with_sizes
from revisage.media.video.probing import open_container, open_file
from revisage.media.video.segment_sink import TICK_IN_MATROSKA, SegmentLabel

__all__ = ["CopiedFrames", "JoinedPackets"]

_LEAD = 10
"""Seconds of an MPEG stream that are read before a part, for its times to be known there."""


@dataclass(frozen=True)
class CopiedFrames:
    """Frames of the source whose packets go into the output as they are.

    Attributes:
        first_pts, last_pts: of the first of them, which begins a closed group, and of the last.
        frames: how many.
    """

    first_pts: int
    last_pts: int
    frames: int


class _Part(Protocol):
    """What the output's video is put together from."""

    path: Path
    header: bytes

    def timed(self) -> Iterator[tuple[int, av.Packet]]:
        """Packets in decoding order with their pts in the source's time base."""


class JoinedPackets:
    """Reads encoded segments and copied parts one after the other. Only times are held in memory, eight bytes a frame.

    Args:
        parts: files of :class:`revisage.media.video.segment_sink.SegmentSink` and parts of the source, in order.
        info: of the source.

    Raises:
        ProcessingError: parts do not follow each other in time, or were not encoded alike.
    """

    def __init__(self, parts: Sequence[Path | CopiedFrames], info: MediaInfo) -> None:
        if not parts:
            raise ProcessingError("there are no segments to join")
        self._info = info
        self._parts: list[_Part] = [
            _Copied(part, info) if isinstance(part, CopiedFrames) else _Encoded(part, info.time_base) for part in parts
        ]
        self._encoded = [part for part in self._parts if isinstance(part, _Encoded)]
        for one in self._encoded:
            if one.header != self._encoded[0].header:
                raise ProcessingError(f"{one.path} was encoded otherwise than the segments before it")
        self._pts: array[int] = array("q")
        self._delay = 0
        for part in self._parts:
            self._take_times(part.path, [pts for pts, _ in part.timed()])

    def _take_times(self, path: Path, decoding_order: list[int]) -> None:
        in_order = sorted(decoding_order)
        if not in_order or (self._pts and in_order[0] <= self._pts[-1]):
            raise ProcessingError(f"{path} does not follow the segment before it in time")
        # A packet is decoded by its place in the file; it must not come later than its place in time.
        places = {pts: place for place, pts in enumerate(in_order)}
        late = max(place - places[pts] for place, pts in enumerate(decoding_order))
        self._delay = max(self._delay, late)
        self._pts.extend(in_order)

    @property
    def template(self) -> Path:
        """The file that tells what the stream is: an encoded segment, or the source where all is copied."""
        return self._encoded[0].path if self._encoded else self._info.path

    @property
    def label(self) -> SegmentLabel:
        """What the encoded segments say of themselves, or the source where all is copied."""
        if self._encoded:
            return self._encoded[0].label
        return SegmentLabel(self._pts[0], self._info.fields, self._info.colour)

    @property
    def header(self) -> bytes | None:
        """The header for packets of both kinds; None where all are of one kind, whose template has it."""
        source = self._copied_sets
        return None if source is None else source.header_with(ParameterSets.of(self._encoded[0].header))

    @property
    def _copied_sets(self) -> ParameterSets | None:
        """Of the source, where H.264 of its own stands beside ours."""
        copied = next((part for part in self._parts if isinstance(part, _Copied)), None)
        if copied is None or not self._encoded or self._info.codec != "h264":
            return None
        return ParameterSets.of(copied.header)

    @property
    def first_pts(self) -> int:
        """Of the first frame, in the source's time base."""
        return self._pts[0]

    @property
    def last_pts(self) -> int:
        """Of the last frame, in the source's time base."""
        return self._pts[-1]

    @property
    def times(self) -> Sequence[int]:
        """Of all frames in order, in the source's time base."""
        return self._pts

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self._pts)

    @property
    def is_even(self) -> bool:
        """Whether all frames are equally far apart."""
        steps = {later - earlier for earlier, later in pairwise(self._pts)}
        return len(steps) <= 1

    def packets(self) -> Iterator[av.Packet]:
        """Packets in decoding order, with pts, dts and duration in the source's time base."""
        sets = self._copied_sets
        size = 0 if sets is None else sets.length_size
        place = 0
        for part in self._parts:
            for pts, found in part.timed():
                packet = _with_sizes(found, size) if size and isinstance(part, _Encoded) else found
                packet.time_base = self._info.time_base
                packet.pts, packet.dts = pts, self._decoding_time(place)
                yield packet
                place += 1

    def _decoding_time(self, place: int) -> int:
        if place >= self._delay:
            return self._pts[place - self._delay]
        step = max(1, self._pts[1] - self._pts[0]) if len(self._pts) > 1 else 1
        return self._pts[0] - (self._delay - place) * step


class _Encoded:
    """A segment's file."""

    def __init__(self, path: Path, time_base: Fraction) -> None:
        self.path, self._time_base = path, time_base
        with open_file(path) as container:
            self.header = container.streams.video[0].codec_context.extradata or b""
            self.label = SegmentLabel.read(container)

    def timed(self) -> Iterator[tuple[int, av.Packet]]:
        """Packets with their true pts; muxers may have moved all of a file's times by the same amount."""
        with open_file(self.path) as container:
            stream = container.streams.video[0]
            is_matroska = container.format.name.startswith("matroska")
            scale = stream.time_base / (TICK_IN_MATROSKA if is_matroska else self._time_base)
            offset: int | None = None
            for packet in container.demux(stream):
                if not packet.size or packet.pts is None:
                    continue
                exact = packet.pts * scale
                if offset is None:
                    # The first packet of a segment is its first frame: a closed group begins with what is shown first.
                    offset = self.label.first_pts - round(exact)
                packet.duration = round((packet.duration or 0) * scale)
                yield round(exact) + offset, packet


class _Copied:
    """A part of the source."""

    def __init__(self, frames: CopiedFrames, info: MediaInfo) -> None:
        self.path, self._frames, self._info = info.path, frames, info
        with open_container(info.path) as container:
            self.header = container.streams[info.video_index].codec_context.extradata or b""

    def timed(self) -> Iterator[tuple[int, av.Packet]]:
        """The packets of the source from the closed group on that begins the part.

        Raises:
            ProcessingError: they are not there any more.
        """
        count, last = 0, self._frames.first_pts
        with open_container(self.path) as container:
            for packet in self._from_near(container):
                if packet.pts is None or not (count or packet.pts == self._frames.first_pts):
                    continue
                count, last = count + 1, max(last, packet.pts)
                yield packet.pts, packet
                if count == self._frames.frames:
                    break
        if (count, last) != (self._frames.frames, self._frames.last_pts):
            raise ProcessingError(f"{self.path}: its packets are not where they were; it was changed while it was read")

    def _from_near(self, container: InputContainer) -> Iterator[av.Packet]:
        """Packets from somewhere before the part on."""
        stream: Any = container.streams[self._info.video_index]
        found = format_of_info(self._info)
        # MPEG streams state times only now and then; until the first of them FFmpeg guesses.
        lead = _LEAD if self._info.container.startswith("mpeg") else 0
        wanted = self._frames.first_pts - int(lead / self._info.time_base)
        if wanted > self._info.start_pts and (found is None or found.seeks):
            container.seek(wanted, stream=stream, backward=True)
        return container.demux(stream)


def _with_sizes(packet: av.Packet, size: int) -> av.Packet:
    """A packet of an encoder's in the form that the source's packets have."""
    made = av.Packet(with_sizes(annex_b_units(bytes(packet)), size))
    made.is_keyframe, made.duration = packet.is_keyframe, packet.duration
    return made
