"""Where in a video a face is lively, sharp, large and frontal for long enough to make a GIF of it.

How expressive a face is along its track: the mouth and eyes move, beyond what the whole face does. A frame's face is
aligned to the FFHQ template and made grey with its contrast divided out. What changes in the mouth and eyes from one
look to the next, less what changes in the forehead and nose (noise, compression, light, jitter of the alignment), is
expression. The change of the mouth's width over time is added from the landmarks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import CancelToken, Face, Region
from revisage.datasets.gif_manifest import GifSetOptions
from revisage.datasets.signs import edge_blur
from revisage.faces import align, frontality
from revisage.media import Frame, open_source
from revisage.pipeline import Scan, ScannedTrack

__all__ = ["FaceLook", "FaceWatch", "Window", "choose_windows", "expressiveness", "split_span"]

_SIDE = 96
_SIGNED_FACE = 128
"""Px of the face at which blur is told, so that faces of all sizes compare."""

_MOUTH = slice(61, 80), slice(32, 65)
"""Rows and columns of parts of a 96 px crop in FFHQ framing."""

_EYES = slice(38, 52), slice(28, 69)
_CALM = (slice(20, 33), slice(32, 65)), (slice(46, 58), slice(43, 54))
_EYES_SHARE = 0.5
"""How much the eyes count beside the mouth."""


@dataclass(frozen=True)
class FaceLook:
    """A face at one moment.

    Attributes:
        index: of the frame in the scan.
        change: of mouth and eyes since the last look, in parts of the face's contrast; 0 at the first.
        mouth: width of the mouth over the distance of the eyes.
        size: longer side of the box (px).
        frontality: 1 facing the camera, 0 in profile.
        blur: standard deviation (px of a face 128 px wide) of the sharpest edges.
    """

    index: int
    change: float
    mouth: float
    size: float
    frontality: float
    blur: float


class FaceWatch:
    """Looks at one track's face now and again, in order."""

    def __init__(self) -> None:
        self.looks: list[FaceLook] = []
        self._last: NDArray[np.float32] | None = None

    def add(self, index: int, frame: Frame, face: Face) -> None:
        """Take the face of the next frame that is looked at."""
        crop = align(frame, face, _SIDE).crop
        grey = _levelled(crop)
        change = 0.0 if self._last is None else _change(self._last, grey)
        self._last = grey
        left, right = face.landmarks[3], face.landmarks[4]
        eyes = float(np.hypot(*(face.landmarks[1] - face.landmarks[0])))
        mouth = float(np.hypot(*(right - left))) / max(eyes, 1e-3)
        self.looks.append(FaceLook(index, change, mouth, face.size, frontality(face.landmarks), _blur(frame, face)))


def expressiveness(looks: list[FaceLook]) -> float:
    """Mean change from look to look, and the spread of the mouth's width: about 0.02 at rest, 0.1 in lively speech."""
    if len(looks) < 2:
        return 0.0
    return float(np.mean([look.change for look in looks[1:]]) + np.std([look.mouth for look in looks]))


def _levelled(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = cv2.GaussianBlur(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    face = grey[20:84, 24:72]
    return np.asarray((grey - face.mean()) / (face.std() + 4), dtype=np.float32)


def _change(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    step = np.abs(after - before)
    calm = float(np.mean([step[part].mean() for part in _CALM]))
    mouth, eyes = float(step[_MOUTH].mean()) - calm, float(step[_EYES].mean()) - calm
    return max(0.0, mouth) + _EYES_SHARE * max(0.0, eyes)


def _blur(frame: Frame, face: Face) -> float:
    """Of the face at its own pixels, told as if the face were 128 px wide."""
    crop = align(frame, face, max(_SIDE, min(256, round(2 * face.size)))).crop
    side = crop.shape[0]
    inner = crop[side // 5 : side - side // 8, side // 5 : side - side // 5]
    luma = cv2.cvtColor(np.ascontiguousarray(inner), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return edge_blur(luma)[0] * 2 * _SIGNED_FACE / side


_LOOKS_PER_SECOND = 12
"""Enough to see a mouth open and close; each look costs an alignment."""

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
        liveliness: see :func:`~revisage.datasets.gif_windows.expressiveness`.
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
