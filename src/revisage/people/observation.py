"""Looking at tracks: which of their frames, and what is read of them in one pass over the source."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from revisage import faces, media
from revisage.core import CancelToken, Crop, ProcessingError, Track
from revisage.readers import FaceReadings, Recogniser

__all__ = ["Footage", "Look", "SeenFace", "Sighting", "TrackReading", "good_looks", "observe", "seen_faces"]

FloatArray = NDArray[np.float32]

_PARTS = 8
"""A track is told by the best frame of so many parts of it: different moments err differently."""
_WORTH = 0.5
"""Frames of less than this part of the best one's worth are left out: a turned head would spoil the mean."""
_LARGE = 112.0
"""Px from which a larger face says no more: the side of what networks of identity are shown."""
_LEAST_WORTH, _LEAST_CONTRAST = 0.12, 12.0
"""Below these nobody can be told: full profiles, faces of some 14 px, and shadows and blurs, whose lightness deviates
by less than so many of 255. In a dark hall such faces had 4 to 11, and were as alike as 0.9; clear ones, bad copies
too, have 16 and more."""
_MIDDLE = slice(40, 216)
"""Rows and columns of a crop that show the face."""
_CROP = 256
_PASSED_OVER = 250
"""Frames without a look from which on they are not read: key frames, where reading begins, are seldom farther apart."""
_AT_ONCE = 32
"""Faces that wait for the network together."""


@dataclass(frozen=True)
class Footage:
    """A source and the faces that were found in it.

    Attributes:
        path: of the source.
        first: number of the source's frames before those that are counted here.
        pts: of each frame.
        time_base: seconds per unit of ``pts``.
        shots: start and stop (excluded) of each.
        tracks: one person in one shot each.
        deinterlace: whether frames are made progressive first, as they were for the detector.
        held: the frames themselves where they lie in memory; ``path`` is then a name only.
    """

    path: Path
    first: int
    pts: Sequence[int]
    time_base: Fraction
    shots: Sequence[tuple[int, int]]
    tracks: Sequence[Track]
    deinterlace: bool = False
    held: Sequence[media.Frame] = ()

    def opened(self) -> media.Source:
        """The source, to be read."""
        if self.held:
            return media.MemorySource(list(self.held))
        return media.open_source(self.path, deinterlace=self.deinterlace)

    @property
    def step(self) -> float:
        """Seconds that a frame usually lasts."""
        steps = [float((after - before) * self.time_base) for before, after in itertools.pairwise(self.pts)]
        return statistics.median(steps) if steps else 0.04

    def seconds(self, index: int) -> float:
        """When a frame is shown, counted from the first; of the index after the last, when that ends."""
        if index < len(self.pts):
            return float((self.pts[index] - self.pts[0]) * self.time_base)
        return self.seconds(len(self.pts) - 1) + self.step


@dataclass(frozen=True, eq=False)
class Sighting:
    """What was read of a face in one frame.

    Attributes:
        seconds: from the first frame.
        size: longer side of the face's box (px).
        pose: yaw, pitch and roll of the head in the frame, in degrees; signs as in :class:`FaceReadings`.
        eyes, mouth: how far open; the eyes' mean.
        expression: ``(7,) float32``, probabilities of :data:`revisage.readers.EXPRESSIONS`.
    """

    seconds: float
    size: float
    pose: tuple[float, float, float]
    eyes: float
    mouth: float
    expression: FloatArray


@dataclass(eq=False)
class TrackReading:
    """What was read of a track.

    Attributes:
        track: its id.
        identity: ``(D,) float32`` of length one, the mean over its best frames; zeros where nobody can be told.
        worth: of the best frame, 0 to 1: how much there is to know somebody by.
        portrait: ``(256, 256, 3) uint8 RGB``, the best frame's face.
        sightings: in order of time; none where the network tells identities only.
    """

    track: int
    identity: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    worth: float = 0.0
    portrait: Crop = field(default_factory=lambda: np.zeros((_CROP, _CROP, 3), np.uint8))
    sightings: list[Sighting] = field(default_factory=list)


def observe(
    footage: Footage,
    recogniser: Recogniser,
    *,
    every: float | None,
    tell: Callable[[int], None] = lambda _: None,
    cancel: CancelToken | None = None,
) -> list[TrackReading]:
    """Read the source once and look at each track.

    Args:
        footage: source and tracks.
        recogniser: tells identities and, as the case may be, more.
        every: seconds between two looks at a face; None looks at the best frames only.
        tell: told the number of frames that were passed.
        cancel: looked at between frames.

    Returns:
        A reading for each track, in the footage's order.

    Raises:
        ProcessingError: the source is not what it was when the faces were found.
        CancelledError: a stop was asked for.
    """
    looks = _looks(footage, every if recogniser.reader is not None else None)
    readings = {track.id: TrackReading(track.id) for track in footage.tracks}
    sums: dict[int, FloatArray] = {}
    waiting: list[SeenFace] = []

    def read() -> None:
        found, more = recogniser(np.stack([seen.crop for seen in waiting]))
        for place, seen in enumerate(waiting):
            look, reading = seen.look, readings[seen.look.track.id]
            if look.worth:
                sums[look.track.id] = sums.get(look.track.id, np.zeros(1, np.float32)) + look.worth * found[place]
                if look.worth > reading.worth:
                    reading.worth, reading.portrait = look.worth, seen.crop
            if more is not None and look.sampled:
                reading.sightings.append(_sighting(more[place : place + 1], seen))
        waiting.clear()

    for each in seen_faces(footage, looks, _CROP, tell, cancel or CancelToken()):
        waiting.append(each)
        if len(waiting) == _AT_ONCE:
            read()
    if waiting:
        read()
    for track, total in sums.items():
        reading = readings[track]
        contrast = float(reading.portrait[_MIDDLE, _MIDDLE].mean(axis=2).std())
        tells = reading.worth >= _LEAST_WORTH and contrast >= _LEAST_CONTRAST
        reading.identity = total / max(float(np.linalg.norm(total)), 1e-12) if tells else 0 * total
    return [readings[track.id] for track in footage.tracks]


@dataclass(frozen=True)
class Look:
    """A face to look at: its track, its place there, what it is worth as one of the best (0: none), and whether
    it is one of those in regular steps."""

    track: Track
    index: int
    worth: float
    sampled: bool


@dataclass(frozen=True, eq=False)
class SeenFace:
    """A face cut out: what for, when, its crop, and by how many degrees that was turned clockwise to be upright."""

    look: Look
    seconds: float
    crop: Crop
    turned: float


def _looks(footage: Footage, every: float | None) -> dict[int, list[Look]]:
    """The faces to look at by frame."""
    looks: dict[int, list[Look]] = defaultdict(list)
    for track in footage.tracks:
        best = _best(track)
        sampled = set() if every is None else _steps(footage, track, every)
        for index in sorted({*best, *sampled}):
            looks[index].append(Look(track, index, best.get(index, 0.0), index in sampled))
    return looks


def good_looks(footage: Footage) -> dict[int, list[Look]]:
    """All frames of each track that are worth about as much as its best one."""
    looks: dict[int, list[Look]] = defaultdict(list)
    for track in footage.tracks:
        worths = _worths(track)
        least = _WORTH * max(worths.values())
        for index, worth in worths.items():
            if worth >= least:
                looks[index].append(Look(track, index, worth, False))
    return looks


def _worths(track: Track) -> dict[int, float]:
    """What each frame in which a track was seen is worth."""
    return {
        track.start + place: _worth(track, place)
        for place in range(len(track.faces))
        if track.seen[place] or not any(track.seen)
    }


def _best(track: Track) -> dict[int, float]:
    """The frames to know somebody by, with the worth of each."""
    worths = _worths(track)
    indices = list(worths)
    parts = [part for part in np.array_split(indices, min(_PARTS, len(indices))) if len(part)]
    chosen = [max((int(index) for index in part), key=lambda index: worths[index]) for part in parts]
    least = _WORTH * max(worths[index] for index in chosen)
    return {index: worths[index] for index in chosen if worths[index] >= least}


def _worth(track: Track, place: int) -> float:
    """How much a face says of who it is, above 0 and at most 1: large, turned this way, and surely a face."""
    face = track.faces[place]
    turned = 0.05 + 0.95 * faces.frontality(face.landmarks)
    return min(1.0, face.size / _LARGE) * turned * max(face.score, 0.05)


def _steps(footage: Footage, track: Track, every: float) -> set[int]:
    chosen: set[int] = set()
    due = -1.0
    for index in range(track.start, track.stop):
        seconds = footage.seconds(index)
        # Half a frame's tolerance: times of frames are rounded in many containers.
        if seconds >= due - footage.step / 2:
            chosen.add(index)
            due = seconds + every
    return chosen


def seen_faces(
    footage: Footage, looks: dict[int, list[Look]], size: int, tell: Callable[[int], None], cancel: CancelToken
) -> Iterator[SeenFace]:
    """The faces to look at by frame, cut out at a side of ``size`` px; see :func:`observe`."""
    if not looks:
        return
    with footage.opened() as source:
        for first, stop in _stretches(sorted(looks), _PASSED_OVER if source.seeks else len(footage.pts)):
            frames = source.frames(footage.first + first, footage.first + stop, first_pts=footage.pts[first])
            index = first - 1
            for index, frame in enumerate(frames, first):
                cancel.check()
                if frame.pts != footage.pts[index]:
                    raise ProcessingError(_changed(footage, index))
                for look in looks.get(index, ()):
                    yield _seen(frame, look, footage.seconds(index), size)
                tell(index + 1)
            if index + 1 != stop:
                raise ProcessingError(_changed(footage, index + 1))


def _stretches(indices: Sequence[int], gap: int) -> Iterator[tuple[int, int]]:
    """Start and stop (excluded) of what holds all these frames, in order, without gaps of more than so many frames."""
    starts = [place for place, index in enumerate(indices) if not place or index - indices[place - 1] > gap]
    for start, stop in itertools.pairwise([*starts, len(indices)]):
        yield indices[start], indices[stop - 1] + 1


def _seen(frame: media.Frame, look: Look, seconds: float, size: int) -> SeenFace:
    aligned = faces.align(frame, look.track.faces[look.index - look.track.start], size)
    turned = math.degrees(math.atan2(aligned.affine[1, 0], aligned.affine[0, 0]))
    return SeenFace(look, seconds, aligned.crop, turned)


def _changed(footage: Footage, index: int) -> str:
    return f"{footage.path}: frame {index} is not where the scan saw it; scan the file again"


def _sighting(reading: FaceReadings, seen: SeenFace) -> Sighting:
    yaw, pitch, roll = (float(angle) for angle in reading.pose[0])
    return Sighting(
        seconds=seen.seconds,
        size=seen.look.track.faces[seen.look.index - seen.look.track.start].size,
        pose=(yaw, pitch, roll - seen.turned),
        eyes=float(reading.eye_opening.mean()),
        mouth=float(reading.mouth_opening[0]),
        expression=reading.expression[0],
    )
