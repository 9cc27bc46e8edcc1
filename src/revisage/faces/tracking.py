"""Follow faces from frame to frame: as they come, or a whole shot at once with gaps filled and fades."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from revisage.core import Box, Face, Image, Track

__all__ = [
    "FaceFollower",
    "FollowedFace",
    "Looks",
    "Tracker",
    "fade_weights",
    "frontality",
    "looks_of",
    "track_of",
    "turn_weights",
]

Looks = NDArray[np.float32]
"""A coarse colour picture of head and shoulders, ``(8, 6, 3)`` Lab; of several faces one more dimension before."""

_GRID_WH = (6, 8)
_WIDER, _ABOVE, _BELOW = 0.35, 0.3, 0.8
"""For looks the box is widened and carried down, for hair and clothes: in the small picture a face alone is a few
pixels."""
_XYZ_OF_RGB = np.array(
    [(0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227)]
) / [[0.950456], [1.0], [1.088754]]
"""From linear sRGB, and over the white of D65: 1 each where it is white."""
_DARK = 0.008856
"""Up to this part of white CIE's root goes on as a line."""
_LAB_OF_ROOTS = np.array([(0, 116, 0, -16), (500, -500, 0, 0), (0, 200, -200, 0)]) * [[2.55], [1], [1]]
_DOUBT = 22.0
"""Mean difference (of 255, colours and luma) at which two looks are as likely of one person as of two."""
_MOTION_GAP, _LOOKS_GAP = 8, 60
"""Frames a face may be missing and still be found by its motion alone, and by motion and looks."""
_REACH, _REACH_PER_FRAME, _MOST_REACH = 0.6, 0.12, 2.5
"""How far (in face sizes) a face may be from where it is expected, and how much further with each frame missed."""
_SIZE_RATIO = 1.7
_SAME_LOOKS, _KNOWN, _LOOKS_RATE = 0.62, 5, 0.15
"""Likeness needed to take a face up again after a long gap, how often it must have been seen, and the share of a new
look in the one remembered."""
_VELOCITY_RATE, _VELOCITY_FADE = 0.4, 0.8
"""Velocity is a mean over some frames, and fades while nothing is seen."""
_SHORT_SHOT, _FEW_TIMES, _STRONG, _CLEAR = 8, 3, 0.3, 0.6
"""In a shot longer than this, a face must have been seen that often and be strong in a quarter of its sightings, or
have been clear once; its best sighting does not count where there are that many. Strong and clear are parts of the way
from the detector's threshold to 1."""
_FADE = 5
"""Frames over which a restoration comes and goes."""
_LAPSE = 8
"""A gap up to this long is a detector's lapse or a passing hand; a longer one hides the face."""
_STEADY = 7
"""Frames over which the turn of the head is averaged."""
_FACING, _MOST_YAW, _TURNING = 0.96, 77.0, 18.0
"""Distance of the eyes over distance from eyes to mouth in the FFHQ template, falling with the cosine of the yaw; the
yaw (degrees) from which nothing is known of a face, and how long before that this begins."""


class FollowedFace(NamedTuple):
    """A face that was seen now, and whose it is.

    Attributes:
        number: of the person, from 0 in the order of their first sighting; it never changes.
        face: as it was detected.
    """

    number: int
    face: Face


@dataclass
class _Path:
    """A person being followed: where and how they were seen last, motion and looks."""

    number: int
    index: int
    last: Face
    looks: Looks
    sightings: int = 1
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    def missed(self, index: int) -> int:
        """Frames between the last one seen and ``index``."""
        return index - self.index - 1

    def expected(self, index: int) -> NDArray[np.float64]:
        """Where the centre should be: on with a velocity that fades."""
        ahead = sum(_VELOCITY_FADE**step for step in range(min(index - self.index, _LOOKS_GAP)))
        return np.array(self.last.centre) + self.velocity * ahead

    def extend(self, index: int, face: Face, looks: Looks) -> None:
        moved = (np.array(face.centre) - self.last.centre) / (index - self.index)
        rate = 1.0 if self.sightings == 1 else _VELOCITY_RATE
        self.velocity = self.velocity + rate * (moved - self.velocity)
        self.looks = self.looks + np.float32(_LOOKS_RATE) * (looks - self.looks)
        self.index, self.last = index, face
        self.sightings += 1


class FaceFollower:
    """Feed it the detections of one shot, however long, frame by frame; it says at once whose faces they are.

    Faces that score ``start_score`` or more begin a track, weaker ones only carry one on (hysteresis; the two rounds
    of association of ByteTrack, Zhang et al. 2022, arXiv 2110.06864). Association weighs overlap with the place that
    constant velocity predicts, then looks. A face that was lost is taken up again up to 60 frames later where it looks
    the same; after that it is forgotten.

    Args:
        size_hw: height and width of the frames (px).
        start_score: score from which a face begins a track.
    """

    def __init__(self, size_hw: tuple[int, int], start_score: float = 0.0) -> None:
        self.size_hw = size_hw
        self._start_score = start_score
        self._paths: list[_Path] = []
        self._count = 0
        self._next: int | None = None

    def add(self, index: int, faces: Sequence[Face], small: Image) -> list[FollowedFace]:
        """Take the next frame.

        Args:
            index: of the frame in the source; one more than the one before.
            faces: what the detector saw, in frame pixels, in any order.
            small: ``(h, w, 3) uint8 RGB``, the frame reduced to some 100 px.

        Returns:
            The faces of this frame that are followed, by number.

        Raises:
            ValueError: a frame was left out or came twice.
        """
        return self.follow(index, faces, looks_of(faces, small, self.size_hw))

    def follow(self, index: int, faces: Sequence[Face], looks: Looks) -> list[FollowedFace]:
        """As :meth:`add`, with the looks of the faces (:func:`looks_of`) in the place of the picture."""
        if self._next is not None and index != self._next:
            raise ValueError(f"expected frame {self._next} of the shot, got {index}")
        self._next = index + 1
        seen = sorted(zip(faces, looks, strict=True), key=_rank)
        strong = [item for item in seen if item[0].score >= self._start_score]
        weak = [item for item in seen if item[0].score < self._start_score]
        # What is farther back fits nothing any more: a camera may run for days.
        self._paths = [path for path in self._paths if path.missed(index) <= _LOOKS_GAP]
        unclaimed = self._associate(index, strong)
        self._associate(index, weak)
        for face, look in unclaimed:
            self._paths.append(_Path(self._count, index, face, look))
            self._count += 1
        return [FollowedFace(path.number, path.last) for path in self._paths if path.index == index]

    def _associate(self, index: int, seen: list[tuple[Face, Looks]]) -> list[tuple[Face, Looks]]:
        """Give each detection to the path it fits best, best pairs first; those left over are returned."""
        pairs = []
        for place, path in enumerate(self._paths):
            if path.index == index:
                continue
            for position, (face, looks) in enumerate(seen):
                fit = _fit(path, index, face, looks)
                if fit > 0:
                    pairs.append((-fit, place, position))
        taken_paths: set[int] = set()
        taken: set[int] = set()
        for _, place, position in sorted(pairs):
            if place not in taken_paths and position not in taken:
                taken_paths.add(place)
                taken.add(position)
                self._paths[place].extend(index, *seen[position])
        return [item for position, item in enumerate(seen) if position not in taken]


class Tracker:
    """Feed it the detections of one shot, frame by frame; at its end it gives the tracks.

    A :class:`FaceFollower` says who is who. What was no face is left out then, and frames between are filled by
    interpolation.

    Args:
        size_hw: height and width of the frames (px).
        start_score: score from which a face begins a track.
    """

    def __init__(self, size_hw: tuple[int, int], start_score: float = 0.0) -> None:
        self._follower = FaceFollower(size_hw, start_score)
        self._start_score = start_score
        self._sightings: dict[int, dict[int, Face]] = {}
        self._first: int | None = None
        self._next = 0

    def add(self, index: int, faces: Sequence[Face], small: Image) -> None:
        """Take the next frame; as :meth:`FaceFollower.add`."""
        self.follow(index, faces, looks_of(faces, small, self._follower.size_hw))

    def follow(self, index: int, faces: Sequence[Face], looks: Looks) -> None:
        """Take the next frame; as :meth:`FaceFollower.follow`."""
        for number, face in self._follower.follow(index, faces, looks):
            self._sightings.setdefault(number, {})[index] = face
        self._first = index if self._first is None else self._first
        self._next = index + 1

    def finish(self) -> list[Track]:
        """The tracks of the shot, numbered from 0 by their first frame, then from left to right."""
        if self._first is None:
            return []
        length = self._next - self._first
        kept = [seen for seen in self._sightings.values() if self._counts(list(seen.values()), length)]
        kept.sort(key=lambda seen: next((index, face.centre) for index, face in seen.items()))
        return [track_of(number, seen, (self._first, self._next)) for number, seen in enumerate(kept)]

    def _counts(self, faces: Sequence[Face], length: int) -> bool:
        """Whether a path is a face and not a false alarm: strong in a good part of many sightings, or clear.

        A video gives a detector many chances to err, so a score that will do in a photo will not do here.
        """
        if length <= _SHORT_SHOT:
            return True
        scores = sorted(face.score for face in faces)
        if len(scores) >= _FEW_TIMES:
            scores.pop()  # one look of several may err by far: a hand scored 0.89 in one frame and 0.7 in all others
        strong, clear = (self._start_score + part * (1 - self._start_score) for part in (_STRONG, _CLEAR))
        return scores[-1] >= clear or (len(faces) >= _FEW_TIMES and float(np.quantile(scores, 0.75)) >= strong)


def track_of(number: int, sightings: Mapping[int, Face], shot: tuple[int, int]) -> Track:
    """The track of somebody who was seen in some frames of a shot, filled in between, with its fades.

    Args:
        number: of the track.
        sightings: the face in each of these frames, in order.
        shot: its first frame and the one after its last.
    """
    start, stop = min(sightings), max(sightings)
    faces = [sightings[start]]
    for (before, earlier), (after, later) in itertools.pairwise(sightings.items()):
        gap = range(before + 1, after)
        faces += [_between(earlier, later, (index - before) / (after - before)) for index in gap]
        faces.append(later)
    seen = tuple(index in sightings for index in range(start, stop + 1))
    weights = fade_weights(seen, begins_shot=start == shot[0], ends_shot=stop == shot[1] - 1)
    return Track(number, start, tuple(faces), seen, weights)


def _rank(seen: tuple[Face, Looks]) -> tuple[float, Box]:
    """Faces have an order of their own: a detector's order must not decide ties."""
    return -seen[0].score, seen[0].box


def _fit(path: _Path, index: int, face: Face, looks: Looks) -> float:
    """How well a face carries a path on: 0 not at all, else above it, up to 2."""
    missed = path.missed(index)
    if missed > _LOOKS_GAP:
        return 0.0
    sizes = path.last.size, face.size
    if max(sizes) > min(sizes) * _SIZE_RATIO:
        return 0.0
    reach = min(_REACH + _REACH_PER_FRAME * missed, _MOST_REACH)
    # A track of one frame has no velocity yet.
    reach += 0.4 if path.sightings == 1 else 0.0
    away = float(np.hypot(*(path.expected(index) - face.centre))) / (sum(sizes) / 2)
    if away > reach:
        return 0.0
    alike = _likeness(path.looks, looks)
    if missed > _MOTION_GAP and (alike < _SAME_LOOKS or path.sightings < _KNOWN):
        return 0.0
    # Near in place comes first; a path seen just now before one that was lost.
    return float(np.exp(-2 * away * away)) + alike - min(missed, 50) / 100 + 0.01


def _between(earlier: Face, later: Face, part: float) -> Face:
    """A face ``part`` of the way from one to another."""
    box = tuple(a + (b - a) * part for a, b in zip(earlier.box, later.box, strict=True))
    landmarks = earlier.landmarks + (later.landmarks - earlier.landmarks) * np.float32(part)
    return Face((box[0], box[1], box[2], box[3]), landmarks, min(earlier.score, later.score))


def looks_of(faces: Sequence[Face], small: Image, size_hw: tuple[int, int]) -> Looks:
    """What the faces of a frame are told apart by, besides their places.

    Args:
        faces: in frame pixels.
        small: ``(h, w, 3) uint8 RGB``, the frame reduced to some 100 px.
        size_hw: of the frame (px).

    Returns:
        ``(N, 8, 6, 3) float32``.
    """
    scale = small.shape[1] / size_hw[1], small.shape[0] / size_hw[0]
    grids = [_described(small, face.box, scale) for face in faces]
    return _lab(np.stack(grids)) if grids else np.empty((0, *_GRID_WH[::-1], 3), np.float32)


def _described(small: Image, box: Box, scale_xy: tuple[float, float]) -> Image:
    """A coarse colour picture of head and shoulders, ``(8, 6, 3) uint8 RGB``.

    Args:
        small: ``(h, w, 3) uint8 RGB``, the frame reduced.
        box: of the face, in frame pixels.
        scale_xy: size of ``small`` over the frame's.
    """
    x, y, width, height = box
    left, right = (x - _WIDER * width) * scale_xy[0], (x + (1 + _WIDER) * width) * scale_xy[0]
    top, bottom = (y - _ABOVE * height) * scale_xy[1], (y + (1 + _BELOW) * height) * scale_xy[1]
    across, down = max(right - left, 1e-3) / _GRID_WH[0], max(bottom - top, 1e-3) / _GRID_WH[1]
    # Low-passed to the grid by taking the mean of 4 x 4 samples in each cell.
    fine = cv2.warpAffine(
        small,
        np.array([[across / 4, 0, left + across / 8 - 0.5], [0, down / 4, top + down / 8 - 0.5]]),
        (_GRID_WH[0] * 4, _GRID_WH[1] * 4),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cv2.resize(fine, _GRID_WH, interpolation=cv2.INTER_AREA), np.uint8)


def _lab(pictures: Image) -> Looks:
    """CIE Lab under D65, L from 0 to 255, of sRGB ``(N, h, w, 3) uint8``: ``float32`` of that shape.

    OpenCV's own begins with tables that take it 0.1 s of processor time, a tenth of the start of a command.
    """
    xyz = cv2.transform(_linear_light()[pictures.reshape(1, -1, 3)], _XYZ_OF_RGB)
    roots = np.where(xyz > _DARK, np.cbrt(xyz), xyz * np.float32(7.787) + np.float32(16 / 116))
    return np.asarray(cv2.transform(roots, _LAB_OF_ROOTS).reshape(pictures.shape), np.float32)


@functools.lru_cache(maxsize=1)
def _linear_light() -> NDArray[np.float32]:
    """The light of each of the 256 levels of sRGB, 0 to 1."""
    level = np.arange(256) / 255
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _likeness(a: Looks, b: Looks) -> float:
    """How alike two looks are, 0 to 1; the overall light may differ."""
    difference = a - b
    difference[..., 0] -= 0.7 * difference[..., 0].mean()
    colour = np.abs(difference[..., 1:]).mean() * 2
    return float(np.exp2(-((np.abs(difference[..., 0]).mean() + colour) / 2 / _DOUBT)))


def fade_weights(seen: Sequence[bool], *, begins_shot: bool, ends_shot: bool) -> tuple[float, ...]:
    """Weights 0 to 1 for the frames of a track: a restoration that switches on or off is seen as a flash.

    They rise at a track's start and fall at its end, except where the shot itself begins or ends there; they go to 0
    in gaps too long for a lapse.

    Args:
        seen: of each frame whether the face was seen or filled in.
        begins_shot: the track starts with its shot.
        ends_shot: the track ends with its shot.
    """
    shown = np.array(_in_view(seen), dtype=np.float64)
    # Frames before and after the track: shown beyond a cut, not shown within the shot.
    shown = np.concatenate(([float(begins_shot)] * _FADE, shown, [float(ends_shot)] * _FADE))
    hidden = np.flatnonzero(shown == 0)
    place = np.arange(_FADE, _FADE + len(seen))
    if len(hidden):
        nearest = np.abs(place[:, None] - hidden[None, :]).min(axis=1)
        weights = np.clip(nearest / (_FADE + 1), 0, 1)
    else:
        weights = np.ones(len(seen))
    return tuple(round(float(weight), 4) for weight in weights)


def _in_view(seen: Sequence[bool]) -> list[bool]:
    """``seen`` with short lapses counted as seen."""
    view = list(seen)
    start: int | None = None
    for index, here in enumerate(seen):
        if not here and start is None:
            start = index
        elif here and start is not None:
            if index - start <= _LAPSE:
                view[start:index] = [True] * (index - start)
            start = None
    return view


def turn_weights(landmarks: Sequence[ArrayLike], max_yaw: float) -> tuple[float, ...]:
    """:func:`frontality` of each frame of a track, averaged over seven frames: a restorer knows little of profiles.

    Args:
        landmarks: ``(5, 2)`` px of each frame.
        max_yaw: as of :func:`frontality`.
    """
    weights = _steady([frontality(points, max_yaw) for points in landmarks])
    return tuple(round(float(weight), 4) for weight in weights)


def _steady(values: Sequence[float]) -> np.ndarray:
    """A running mean, narrower at the ends."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    middle = np.arange(len(values))
    reach = np.minimum(np.minimum(middle, len(values) - 1 - middle), _STEADY // 2)
    mean: np.ndarray = (total[middle + reach + 1] - total[middle - reach]) / (2 * reach + 1)
    return np.clip(mean, 0, 1)


def frontality(landmarks: ArrayLike, max_yaw: float = _MOST_YAW) -> float:
    """1 for a face that looks roughly this way, falling smoothly to 0 where it is turned far aside.

    The eyes close up as a head turns (with the cosine of its yaw) while the way from eyes to mouth stays; a nod
    shortens the latter and changes nothing here.

    Args:
        landmarks: ``(5, 2)`` px, in any rotation and size.
        max_yaw: degrees from which it is 0; it is 1 up to 18 degrees before.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    down = points[3:].mean(axis=0) - points[:2].mean(axis=0)
    length = float(np.hypot(*down))
    if length < 1e-6:
        return 1.0
    eyes = points[1] - points[0]
    across = abs(float(eyes[0] * down[1] - eyes[1] * down[0])) / length**2
    turned, begins = (_FACING * math.cos(math.radians(max(0.0, yaw))) for yaw in (max_yaw, max_yaw - _TURNING))
    ramp = min(1.0, max(0.0, (across - turned) / (begins - turned)))
    return ramp * ramp * (3 - 2 * ramp)
