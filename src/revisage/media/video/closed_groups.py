"""Which frames of a source can go into the output as packets: closed groups that stand beside what is encoded.

Nothing is believed of the container that the packets do not show: a group counts where its packets are the very frames
that decoding gave, nothing before it is shown after its beginning, and nothing behind it is shown before its end.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from revisage.media.formats import video_format
from revisage.media.interface import EncodeOptions, MediaInfo
from revisage.media.video.encoders import resolve_options
from revisage.media.video.parameter_sets import HeaderError, ParameterSets
from revisage.media.video.probing import SourceClock, open_container
from revisage.media.video.source import native_format

__all__ = ["CopyableGroups", "copyable_groups"]

_COPIED = ("h264", "hevc", "mpeg2video", "vp9", "av1")
"""Codecs whose whole streams have been copied and played."""


@dataclass(frozen=True)
class CopyableGroups:
    """Frames of a span of the source that can be copied.

    Attributes:
        groups: start and stop (excluded) of each, counted in the span; where one ends another may begin.
        parameter_set: for H.264, the number that the sets of encoded segments must have to stand beside these.
    """

    groups: tuple[tuple[int, int], ...] = ()
    parameter_set: int = 0


def copyable_groups(info: MediaInfo, output: Path, options: EncodeOptions, pts: Sequence[int]) -> CopyableGroups:
    """Look through the packets of a source for those that can be copied into an output.

    Args:
        info: of the source.
        output: whose name's ending decides about the container.
        options: of the encoder, which makes the rest of the output.
        pts: of each frame of the span, as decoded.
    """
    if not _fits(info, output, options):
        return CopyableGroups()
    found = _Packets()
    with open_container(info.path) as container:
        stream = container.streams[info.video_index]
        if stream.metadata.get("alpha_mode") == "1":
            return CopyableGroups()
        sets = _joinable_sets(info, output, stream.codec_context.extradata or b"")
        try:
            found.read(container.demux(stream), sets)
        except (av.error.FFmpegError, HeaderError):
            return CopyableGroups()
    if not video_format(output).reorders and found.is_reordered:
        return CopyableGroups()
    number = 0 if sets is None else sets.free_number
    return CopyableGroups(found.groups(pts), number or 0)


def _fits(info: MediaInfo, output: Path, options: EncodeOptions) -> bool:
    """Whether encoded frames of the output are of the source's codec, size and format."""
    if info.kind != "video" or info.codec not in _COPIED or info.has_alpha:
        return False
    if SourceClock(info.path, info.container).is_joined:
        return False
    made = resolve_options(info, output, options)
    return (
        av.Codec(made.codec or "", "w").canonical_name == info.codec
        and made.size_hw == info.size_hw
        and made.pixel_format == native_format(info.pixel_format)
    )


def _joinable_sets(info: MediaInfo, output: Path, header: bytes) -> ParameterSets | None:
    """The source's parameter sets, where ours can stand beside them; without them a stream is copied whole or not."""
    if info.codec != "h264" or info.pixel_format not in ("yuv420p", "yuvj420p"):
        return None
    try:
        sets = ParameterSets.of(header)
    except HeaderError:
        return None
    # A muxer puts packets of the one form into the other, but not some of each.
    is_sized = video_format(output).writer != "mpegts"
    if not sets.can_be_joined or sets.free_number is None or is_sized != bool(sets.length_size):
        return None
    return sets


@dataclass
class _Packets:
    """The packets of a stream in decoding order.

    Attributes:
        pts: of each.
        starts: places of those that a group can begin with.
        bad: places of those that cannot be copied.
    """

    pts: array[int] = field(default_factory=lambda: array("q"))
    starts: list[int] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)

    def read(self, packets: object, sets: ParameterSets | None) -> None:
        """Take all packets; with ``sets`` each IDR picture is a place to begin at, else only the first packet is."""
        for packet in packets:  # type: ignore[attr-defined]
            if not packet.size:
                continue
            place = len(self.pts)
            is_bad = packet.pts is None or packet.is_corrupt or packet.is_discard
            if sets is not None and not is_bad:
                data = bytes(packet)
                is_bad = sets.disagrees(data)
                is_start = packet.is_keyframe and sets.begins_anew(data)
            else:
                is_start = place == 0 and packet.is_keyframe
            if is_start:
                self.starts.append(place)
            if is_bad:
                self.bad.append(place)
            self.pts.append(0 if packet.pts is None else packet.pts)

    @property
    def is_reordered(self) -> bool:
        """Whether packets are stored in another order than they are shown."""
        return any(later < earlier for earlier, later in pairwise(self.pts))

    def groups(self, pts: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """The closed groups whose packets are frames of a span, as start and stop in it."""
        spans = ((self._frames(start, stop), pts) for start, stop in pairwise(self._edges()))
        found = (_place(times, pts) for times, pts in spans if times)
        return tuple(span for span in found if span is not None)

    def _edges(self) -> list[int]:
        """Places at which all before is shown before, and all behind is shown after."""
        times = np.array(self.pts, dtype=np.int64)
        if not len(times):
            return []
        latest = np.maximum.accumulate(times)
        earliest = np.minimum.accumulate(times[::-1])[::-1]
        closed = [at for at in self.starts if earliest[at] == times[at] and (at == 0 or latest[at - 1] < times[at])]
        return [*closed, len(times)]

    def _frames(self, start: int, stop: int) -> list[int]:
        """Sorted pts of a group; none where a packet of it cannot be copied."""
        if bisect_left(self.bad, start) != bisect_left(self.bad, stop):
            return []
        return sorted(self.pts[start:stop])


def _place(times: list[int], pts: Sequence[int]) -> tuple[int, int] | None:
    """Where the frames of a group lie in a span; None when the span has not just these there."""
    start = bisect_left(pts, times[0])
    stop = start + len(times)
    return (start, stop) if list(pts[start:stop]) == times else None
