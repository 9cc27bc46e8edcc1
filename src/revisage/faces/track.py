"""Follow the faces of one shot from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from revisage.core import Face, Track
from revisage.faces.appearance import describe, likeness
from revisage.faces.fade import fade_weights

__all__ = ["Tracker"]

# Frames a face may be missing and still be found by its motion alone, and by motion and looks.
_MOTION_GAP = 8
_LOOKS_GAP = 60
# How far (in face sizes) a face may be from where it is expected, and how much further with each frame missed.
_REACH, _REACH_PER_FRAME, _MOST_REACH = 0.6, 0.12, 2.5
_SIZE_RATIO = 1.7
# Likeness needed to take a face up again after a long gap, how often it must have been seen, and the share of a new
# look in the one remembered.
_SAME_LOOKS, _KNOWN, _LOOKS_RATE = 0.62, 5, 0.15
# Velocity is a mean over some frames, and fades while nothing is seen.
_VELOCITY_RATE, _VELOCITY_FADE = 0.4, 0.8
# In a shot longer than this, a face must have been seen that often and be strong in a quarter of its sightings, or have
# been clear once. Strong and clear are parts of the way from the detector's threshold to 1.
_SHORT_SHOT, _FEW_TIMES, _STRONG, _CLEAR = 8, 3, 0.3, 0.6


@dataclass
class _Path:
    """A track while it is being followed: faces where seen, motion and looks."""

    frames: list[int]
    faces: list[Face]
    looks: NDArray[np.float32]
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    @property
    def last(self) -> Face:
        return self.faces[-1]

    def missed(self, index: int) -> int:
        """Frames between the last one seen and ``index``."""
        return index - self.frames[-1] - 1

    def expected(self, index: int) -> NDArray[np.float64]:
        """Where the centre should be: on with a velocity that fades."""
        ahead = sum(_VELOCITY_FADE**step for step in range(min(index - self.frames[-1], _LOOKS_GAP)))
        return np.array(self.last.centre) + self.velocity * ahead

    def extend(self, index: int, face: Face, looks: NDArray[np.float32]) -> None:
        steps = index - self.frames[-1]
        moved = (np.array(face.centre) - self.last.centre) / steps
        rate = 1.0 if len(self.faces) == 1 else _VELOCITY_RATE
        self.velocity = self.velocity + rate * (moved - self.velocity)
        self.looks = self.looks + np.float32(_LOOKS_RATE) * (looks - self.looks)
        self.frames.append(index)
        self.faces.append(face)


class Tracker:
    """Feed it the detections of one shot, frame by frame; it gives the tracks.

    Faces that score ``start_score`` or more begin a track, weaker ones only carry one on (hysteresis; the two rounds
    of association of ByteTrack, Zhang et al. 2022, arXiv 2110.06864). Association weighs overlap with the place that
    constant velocity predicts, then looks. A face that was lost is taken up again up to 60 frames later where it looks
    the same. Frames between are filled by interpolation.

    Args:
        size_hw: height and width of the frames (px).
        start_score: score from which a face begins a track.
    """

    def __init__(self, size_hw: tuple[int, int], start_score: float = 0.0) -> None:
        self._size_hw = size_hw
        self._start_score = start_score
        self._paths: list[_Path] = []
        self._first: int | None = None
        self._next = 0

    def add(self, index: int, faces: Sequence[Face], small: NDArray[np.uint8]) -> None:
        """Take the next frame.

        Args:
            index: of the frame in the source; one more than the one before.
            faces: what the detector saw, in frame pixels, in any order.
            small: ``(h, w, 3) uint8 RGB``, the frame reduced to some 100 px.

        Raises:
            ValueError: a frame was left out or came twice.
        """
        if self._first is None:
            self._first = self._next = index
        if index != self._next:
            raise ValueError(f"expected frame {self._next} of the shot, got {index}")
        self._next = index + 1
        scale = small.shape[1] / self._size_hw[1], small.shape[0] / self._size_hw[0]
        seen = [(face, describe(small, face.box, scale)) for face in _ordered(faces)]
        strong = [item for item in seen if item[0].score >= self._start_score]
        weak = [item for item in seen if item[0].score < self._start_score]
        unclaimed = self._associate(index, strong)
        self._associate(index, weak)
        for face, looks in unclaimed:
            self._paths.append(_Path([index], [face], looks))

    def _associate(
        self, index: int, seen: list[tuple[Face, NDArray[np.float32]]]
    ) -> list[tuple[Face, NDArray[np.float32]]]:
        """Give each detection to the path it fits best, best pairs first; those left over are returned."""
        pairs = []
        for number, path in enumerate(self._paths):
            if path.frames[-1] == index:
                continue
            for position, (face, looks) in enumerate(seen):
                fit = _fit(path, index, face, looks)
                if fit > 0:
                    pairs.append((-fit, number, position))
        taken_paths: set[int] = set()
        taken: set[int] = set()
        for _, number, position in sorted(pairs):
            if number not in taken_paths and position not in taken:
                taken_paths.add(number)
                taken.add(position)
                self._paths[number].extend(index, *seen[position])
        return [item for position, item in enumerate(seen) if position not in taken]

    def finish(self) -> list[Track]:
        """The tracks of the shot, numbered from 0 by their first frame, then from left to right."""
        if self._first is None:
            return []
        length = self._next - self._first
        kept = [path for path in self._paths if self._counts(path, length)]
        kept.sort(key=lambda path: (path.frames[0], path.faces[0].centre))
        return [self._track(number, path) for number, path in enumerate(kept)]

    def _counts(self, path: _Path, length: int) -> bool:
        """Whether a path is a face and not a false alarm: strong in a good part of many sightings, or clear in one.

        A video gives a detector many chances to err, so a score that will do in a photo will not do here.
        """
        if length <= _SHORT_SHOT:
            return True
        scores = [face.score for face in path.faces]
        strong, clear = (self._start_score + part * (1 - self._start_score) for part in (_STRONG, _CLEAR))
        return max(scores) >= clear or (len(scores) >= _FEW_TIMES and float(np.quantile(scores, 0.75)) >= strong)

    def _track(self, number: int, path: _Path) -> Track:
        faces: list[Face] = [path.faces[0]]
        for before, after, earlier, later in zip(
            path.frames, path.frames[1:], path.faces, path.faces[1:], strict=False
        ):
            faces += [
                _between(earlier, later, (index - before) / (after - before)) for index in range(before + 1, after)
            ]
            faces.append(later)
        start = path.frames[0]
        at = set(path.frames)
        seen = tuple(index in at for index in range(start, path.frames[-1] + 1))
        weights = fade_weights(
            faces, seen, begins_shot=start == self._first, ends_shot=path.frames[-1] == self._next - 1
        )
        return Track(number, start, tuple(faces), seen, weights)


def _ordered(faces: Sequence[Face]) -> list[Face]:
    """In an order of their own: a detector's order must not decide ties."""
    return sorted(faces, key=lambda face: (-face.score, face.box))


def _fit(path: _Path, index: int, face: Face, looks: NDArray[np.float32]) -> float:
    """How well a face carries a path on: 0 not at all, else above it, up to 2."""
    missed = path.missed(index)
    if missed > _LOOKS_GAP:
        return 0.0
    sizes = path.last.size, face.size
    if max(sizes) > min(sizes) * _SIZE_RATIO:
        return 0.0
    reach = min(_REACH + _REACH_PER_FRAME * missed, _MOST_REACH)
    # A track of one frame has no velocity yet.
    reach += 0.4 if len(path.frames) == 1 else 0.0
    away = float(np.hypot(*(path.expected(index) - face.centre))) / (sum(sizes) / 2)
    if away > reach:
        return 0.0
    alike = likeness(path.looks, looks)
    if missed > _MOTION_GAP and (alike < _SAME_LOOKS or len(path.frames) < _KNOWN):
        return 0.0
    # Near in place comes first; a path seen just now before one that was lost.
    return float(np.exp(-2 * away * away)) + alike - min(missed, 50) / 100 + 0.01


def _between(earlier: Face, later: Face, part: float) -> Face:
    """A face ``part`` of the way from one to another."""
    box = tuple(a + (b - a) * part for a, b in zip(earlier.box, later.box, strict=True))
    landmarks = earlier.landmarks + (later.landmarks - earlier.landmarks) * np.float32(part)
    return Face((box[0], box[1], box[2], box[3]), landmarks, min(earlier.score, later.score))
