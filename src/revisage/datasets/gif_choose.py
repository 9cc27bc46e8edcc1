"""Where in a video a face is lively, sharp, large and frontal for long enough to make a GIF of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from revisage.core import CancelToken, Region
from revisage.datasets.expression import FaceLook, FaceWatch, expressiveness
from revisage.datasets.gif_manifest import GifSetOptions
from revisage.media import open_source
from revisage.pipeline import Scan, ScannedTrack

__all__ = ["Window", "choose_windows", "split_span"]

_LOOKS_PER_SECOND = 12
_LEAST_FRONTALITY = 0.3
_MOST_BLUR = 3.2
_AROUND, _ABOVE, _BELOW = 0.7, 0.6, 0.7
"""How much of the picture is shown around the face's box, in parts of its size."""


@dataclass(frozen=True)
class Window:
    """A span of one track.

    Attributes:
        track: of the scan.
        start, stop: frames of the scan, ``stop`` excluded.
        region: the part of the frame to show.
        liveliness: see :func:`~revisage.datasets.expression.expressiveness`.
        frontality: mean over the span.
    """

    track: ScannedTrack
    start: int
    stop: int
    region: Region
    liveliness: float
    frontality: float


def choose_windows(
    path: Path, scan: Scan, options: GifSetOptions, *, cancel: CancelToken | None = None
) -> tuple[list[Window], str | None]:
    """The liveliest spans of a video, in order of time; none of them crosses a cut.

    Returns:
        The spans, and why there are none where that is so.

    Raises:
        InputError: the video cannot be read.
        CancelledError: a stop was asked for.
    """
    tracks = [track for track in scan.tracks if _may_serve(track, scan, options)]
    if not tracks:
        return [], f"no face of {options.min_face} px or more is seen for {options.min_seconds:g} s"
    watches = _watched(path, scan, tracks, cancel or CancelToken())
    found = [window for track in tracks for window in _windows(track, watches[track.id].looks, scan, options)]
    if not found:
        return [], f"no face is sharp and frontal for {options.min_seconds:g} s"
    lively = [window for window in found if window.liveliness >= options.liveliness]
    if not lively:
        return [], f"no face moves enough; the liveliest has {max(w.liveliness for w in found):.3f}"
    lively.sort(key=lambda window: (-window.liveliness, window.start, window.track.id))
    return sorted(lively[: options.per_video], key=lambda window: (window.start, window.track.id)), None


def _may_serve(track: ScannedTrack, scan: Scan, options: GifSetOptions) -> bool:
    sizes = [max(box[2], box[3]) for box in track.boxes]
    long_enough = _long_enough(scan, track.start, track.stop, options)
    return long_enough and float(np.quantile(sizes, 0.9)) >= options.min_face


def _seconds(scan: Scan, start: int, stop: int) -> float:
    """From the display of frame ``start`` to the end of frame ``stop - 1``."""
    end = (
        scan.pts[stop] if stop < scan.frames else scan.pts[-1] + (scan.pts[-1] - scan.pts[0]) / max(1, scan.frames - 1)
    )
    return float((end - scan.pts[start]) * scan.time_base)


def _watched(path: Path, scan: Scan, tracks: Sequence[ScannedTrack], cancel: CancelToken) -> dict[int, FaceWatch]:
    """Looks at all tracks in one reading of the video, some twelve a second."""
    watches = {track.id: FaceWatch() for track in tracks}
    first, stop = min(track.start for track in tracks), max(track.stop for track in tracks)
    due = -math.inf
    with open_source(path) as source:
        for frame in source.frames(scan.first + first, scan.first + stop):
            cancel.check()
            index = frame.index - scan.first
            time = float(frame.pts * frame.time_base)
            if time < due:
                continue
            due = time + 0.99 / _LOOKS_PER_SECOND
            for track in tracks:
                if track.start <= index < track.stop:
                    watches[track.id].add(index, frame, track.face(index))
    return watches


def _windows(track: ScannedTrack, looks: Sequence[FaceLook], scan: Scan, options: GifSetOptions) -> list[Window]:
    """Stretches of good looks, cut into equal parts that are not too long."""
    found = []
    for run in _runs(looks, options):
        for left, right in split_span(scan, run[0].index, min(track.stop, run[-1].index + 1), options):
            inside = [look for look in run if left <= look.index < right]
            if len(inside) > 1:
                found.append(_window(track, left, right, inside, scan))
    return found


def split_span(scan: Scan, start: int, stop: int, options: GifSetOptions) -> list[tuple[int, int]]:
    """Frames ``start`` to ``stop`` (excluded) in as few equal parts as are not too long; where those would be too
    short, parts of the full length and a rest that is left out."""
    parts = max(1, math.ceil(_seconds(scan, start, stop) / options.max_seconds - 1e-6))
    if _seconds(scan, start, stop) < parts * options.min_seconds:
        parts = max(1, parts - 1)
        while stop > start + parts and _seconds(scan, start, stop) > parts * options.max_seconds + 1e-6:
            stop -= 1
    edges = [start + round(number * (stop - start) / parts) for number in range(parts + 1)]
    spans = itertools.pairwise(edges)
    return [(left, right) for left, right in spans if left < right and _long_enough(scan, left, right, options)]


def _long_enough(scan: Scan, start: int, stop: int, options: GifSetOptions) -> bool:
    return _seconds(scan, start, stop) >= options.min_seconds - 1e-6


def _runs(looks: Sequence[FaceLook], options: GifSetOptions) -> list[list[FaceLook]]:
    runs: list[list[FaceLook]] = [[]]
    for look in looks:
        good = look.size >= options.min_face and look.frontality >= _LEAST_FRONTALITY and look.blur <= _MOST_BLUR
        if good:
            runs[-1].append(look)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _window(track: ScannedTrack, start: int, stop: int, looks: list[FaceLook], scan: Scan) -> Window:
    # What changed before a span's first look does not belong to it.
    own = [replace(looks[0], change=0.0), *looks[1:]]
    return Window(
        track,
        start,
        stop,
        _region(track, start, stop, scan.size_hw),
        round(expressiveness(own), 4),
        round(float(np.mean([look.frontality for look in looks])), 3),
    )


def _region(track: ScannedTrack, start: int, stop: int, size_hw: tuple[int, int]) -> Region:
    """Where the face is during a span, with some of what is around it; corners even, as chroma is."""
    boxes = np.array(track.boxes[start - track.start : stop - track.start])
    size = float(np.median(boxes[:, 2:].max(axis=1)))
    left, top = boxes[:, 0].min() - _AROUND * size, boxes[:, 1].min() - _ABOVE * size
    right = (boxes[:, 0] + boxes[:, 2]).max() + _AROUND * size
    bottom = (boxes[:, 1] + boxes[:, 3]).max() + _BELOW * size
    height, width = size_hw
    left, top = (max(0, int(value) // 2 * 2) for value in (left, top))
    return Region(left, top, min(width, int(right + 1) // 2 * 2), min(height, int(bottom + 1) // 2 * 2))
