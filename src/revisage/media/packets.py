"""Times of the packets of a file, without decoding them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

__all__ = ["FileTimes", "StreamTimes", "stream_times"]


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
    import av

    from revisage.media.reading import open_file

    with open_file(path) as container:
        video = container.streams.video[0]
        streams = [video, *container.streams.audio]
        first = video.index
        times = {stream.index: StreamTimes() for stream in streams}
        try:
            for packet in container.demux(streams):
                if packet.pts is None or packet.time_base is None:
                    continue
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
