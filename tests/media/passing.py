"""A whole pass through the room: read, encode by segments, join; and what to compare."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from revisage.media import AssembleResult, EncodeOptions, Frame, assemble, open_segment, open_source


def pass_through(
    source: Path,
    output: Path,
    options: EncodeOptions | None = None,
    *,
    segments: int = 2,
    span: slice = slice(None),
    change: Callable[[Frame], Frame] = lambda frame: frame,
    deinterlace: bool = False,
) -> AssembleResult:
    """Copy a video as the pipeline does, frame by frame, in segments."""
    options = options or EncodeOptions()
    with open_source(source, deinterlace=deinterlace) as opened:
        pts = [frame.pts for frame in opened.frames()]
        numbers = range(len(pts))[span]
        size = -(-len(numbers) // segments)
        files = []
        for first in range(numbers.start, numbers.stop, size):
            file = output.with_name(f"segment{first}{output.suffix}")
            sink = open_segment(file, opened.info, options)
            for frame in opened.frames(first, min(first + size, numbers.stop), first_pts=pts[first]):
                sink.write(change(frame))
            sink.close()
            files.append(file)
        return assemble(files, source, output, source_info=opened.info, options=options)


def times(path: Path) -> list[Fraction]:
    """When each frame is shown, in seconds, by a plain decoder."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(container.streams.video[0])]


def decoded(path: Path) -> list[list[np.ndarray]]:
    """The native planes of each frame, by a plain decoder."""
    with av.open(str(path)) as container:
        return [planes(frame) for frame in container.decode(container.streams.video[0])]


def planes(frame: Any) -> list[np.ndarray]:
    """Copies of a decoded frame's planes, as bytes."""
    found = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
        found.append(rows[:, : plane.width * (plane.line_size // plane.width and frame_bytes(frame))].copy())
    return found


def frame_bytes(frame: Any) -> int:
    """Bytes of one sample."""
    return 2 if frame.format.components[0].bits > 8 else 1


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Time and bytes of each packet of the streams of one kind."""
    with av.open(str(path)) as container:
        chosen = [stream for stream in container.streams if stream.type == kind]
        if not chosen:
            return []
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in container.demux(chosen) if packet.size]
