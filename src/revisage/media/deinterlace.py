"""Interlaced pictures made progressive, one frame for one frame, by the BWDIF filter of FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator

import av
import av.filter
from av.video.stream import VideoStream

__all__ = ["Deinterlacer"]


class Deinterlacer:
    """Feeds frames through the filter and restores their times, which it keeps in half units."""

    def __init__(self, stream: VideoStream) -> None:
        self._graph = av.filter.Graph()
        self._graph.threads = 2
        source = self._graph.add_buffer(template=stream)
        filtering = self._graph.add("bwdif", "mode=send_frame:parity=auto:deint=all")
        sink = self._graph.add("buffersink")
        self._graph.link_nodes(source, filtering, sink).configure()

    def frames(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """Progressive frames, one for each given, with its pts and duration."""
        times: list[tuple[int | None, int, object]] = []
        for frame in frames:
            times.append((frame.pts, frame.duration, frame.time_base))
            self._graph.vpush(frame)
            yield from self._ready(times)
        self._graph.vpush(None)
        yield from self._ready(times)

    def _ready(self, times: list[tuple[int | None, int, object]]) -> Iterator[av.VideoFrame]:
        while True:
            try:
                frame = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            pts, duration, time_base = times.pop(0)
            frame.time_base = time_base  # type: ignore[assignment]
            frame.pts, frame.duration = pts, duration
            yield frame
