"""The packets of encoded segments as one stream: exact times, decoding times that rise across the joins."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from revisage.core import ProcessingError
from revisage.media.reading import open_file
from revisage.media.segment import SegmentLabel

__all__ = ["JoinedPackets"]


class JoinedPackets:
    """Reads segments one after the other. Only times are held in memory, eight bytes a frame.

    Args:
        segments: files of :class:`revisage.media.segment.SegmentSink`, in order.
        time_base: of the source.

    Raises:
        ProcessingError: segments do not follow each other in time, or were not encoded alike.
    """

    def __init__(self, segments: Sequence[Path], time_base: Fraction) -> None:
        if not segments:
            raise ProcessingError("there are no segments to join")
        self._segments, self._time_base = list(segments), time_base
        self._pts: array[int] = array("q")
        self._delay = 0
        extradata: bytes | None = None
        for path in self._segments:
            with open_file(path) as container:
                found = container.streams.video[0].codec_context.extradata or b""
                if extradata is not None and found != extradata:
                    raise ProcessingError(f"{path} was encoded otherwise than the segments before it")
                extradata = found
                self._take_times(path, [pts for pts, _ in self._timed(container)])

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
    def first_pts(self) -> int:
        """Of the first frame, in the source's time base."""
        return self._pts[0]

    @property
    def last_pts(self) -> int:
        """Of the last frame, in the source's time base."""
        return self._pts[-1]

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
        place = 0
        for path in self._segments:
            with open_file(path) as container:
                for pts, packet in self._timed(container):
                    packet.time_base = self._time_base
                    packet.pts, packet.dts = pts, self._decoding_time(place)
                    yield packet
                    place += 1

    def _decoding_time(self, place: int) -> int:
        if place >= self._delay:
            return self._pts[place - self._delay]
        step = max(1, self._pts[1] - self._pts[0]) if len(self._pts) > 1 else 1
        return self._pts[0] - (self._delay - place) * step

    def _timed(self, container: Any) -> Iterator[tuple[int, av.Packet]]:
        """Packets with their true pts; muxers may have moved all of a file's times by the same amount."""
        stream = container.streams.video[0]
        scale = stream.time_base / self._time_base
        offset: int | None = None
        for packet in container.demux(stream):
            if not packet.size:
                continue
            exact = packet.pts * scale
            if offset is None:
                # The first packet of a segment is its first frame: a closed group begins with what is shown first.
                offset = SegmentLabel.read(container).first_pts - round(exact)
            packet.duration = round((packet.duration or 0) * scale)
            yield round(exact) + offset, packet
