"""Which faces stand in a frame, whose they are and how strongly each is restored, told from the past alone."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from revisage import faces, pipeline, temporal
from revisage.core import Face, Image, RestoreConfig

if TYPE_CHECKING:
    from revisage.faces import FaceDetector, FollowedFace
    from revisage.media import Frame
    from revisage.pipeline import PlannedFace
    from revisage.temporal import LandmarkSmoother

__all__ = ["FollowedFaces"]

_SMALL = 160
"""Longer side of the pictures that shots and people are told apart by (px)."""

_FADE = 5
"""Frames over which a restoration comes and goes."""

_LAPSE = 8
"""Frames for which a face that is not seen any more is looked for where it was; for the first of them it is shown,
fading."""

_SIGHTINGS = 3
"""A face is restored from its third sighting on: what is no face is seldom seen three times in one place."""

_CLEAR = 0.6
"""One that a shot begins with is restored at once where it scores this part of the way from the threshold to 1."""

_EVERY, _EVERY_UNTIL_FOUND = 8, 2
"""Frames between searches of whole frames where nothing depends on time."""

_TURN = 7
"""Frames over which the turn of the head is averaged."""

_KEPT = 1.3
"""Of two faces of which one must be left alone, the one that was restored before may be so many times smaller."""

_SAME = 0.5
"""Two faces less than this part of their size apart are one."""


@dataclass
class _Person:
    """One who is being followed: steadied, and how far the restoration is faded in.

    Attributes:
        face: as it was seen last, or where it should be; ``steady`` is what is shown.
        shown: 0 to 1, how far the restoration has come.
    """

    face: Face
    steady: Face
    smoother: LandmarkSmoother | None
    sightings: int = 0
    missed: int = 0
    shown: float = 0.0
    kept: bool = True
    turns: deque[float] = field(default_factory=lambda: deque(maxlen=_TURN))

    def see(self, face: Face, max_yaw: float) -> None:
        """It was seen in this frame."""
        self.face = face
        self.steady = face if self.smoother is None else self.smoother(face)
        self.turns.append(faces.frontality(self.steady.landmarks, max_yaw))
        self.sightings, self.missed = self.sightings + 1, 0

    def settle(self, *, kept: bool) -> None:
        """Fade in or out by one step."""
        self.kept = kept
        comes = kept and not self.missed and self.sightings >= _SIGHTINGS
        self.shown = min(1.0, self.shown + 1 / _FADE) if comes else max(0.0, self.shown - 1 / _FADE)

    def strength(self, size_hw: tuple[int, int], config: RestoreConfig) -> float:
        """How strongly it is restored now."""
        place = pipeline.place_weight(self.steady.box, self.steady.landmarks, size_hw, config)
        return round(config.strength * self.shown * place * sum(self.turns) / len(self.turns), 4)


class FollowedFaces:
    """Follows faces from frame to frame. Faces are looked for where they were; :meth:`search` finds new ones.

    Args:
        config: which faces are restored, and how strongly.
        detector: finds them.
    """

    def __init__(self, config: RestoreConfig, detector: FaceDetector) -> None:
        self.config = config
        self._detector = detector
        self._people: dict[int, _Person] = {}
        self._found: list[Face] = []
        self._new_shot = faces.ShotDetector()
        self._follower: faces.FaceFollower | None = None
        self._size_hw = (0, 0)
        self._index = 0
        self._numbers = 0
        self._base = 0
        self._in_shot = 0
        self._clear = detector.threshold + _CLEAR * (1 - detector.threshold)
        self._is_warm = False
        self._since_search: int | None = None
        self.lost = False

    @property
    def settled(self) -> bool:
        """Whether faces are followed and none was lost since the last search."""
        return bool(self._people) and not self.lost

    def starts_shot(self, frame: Frame) -> bool:
        """Take the next frame, before anything else: whether it begins a shot, whose faces are others."""
        self._small = _reduced(frame)
        cut = self._new_shot(self._small) or frame.size_hw != self._size_hw
        if cut or self._follower is None:
            self._base, self._size_hw, self._in_shot = self._numbers, frame.size_hw, 0
            self._follower = faces.FaceFollower(frame.size_hw, self._detector.threshold)
            self._people, self._found, self.lost, self._since_search = {}, [], False, None
        return cut

    def search(self, frame: Frame) -> list[Face]:
        """Find all faces of a frame. Touches nothing of the stream: it may run in another thread."""
        found = self._detector.candidates(frame)
        strong = [face for face in found if face.score >= self._detector.threshold]
        known = [person.face for person in list(self._people.values())]
        upright = [face for face in strong if _near(face, known) or not self._detector.is_turned(frame, face)]
        if upright and not self._is_warm:
            self._detector.near(frame, upright)  # its first run is slow, and the next one is on the way of a frame
            self._is_warm = True
        return upright

    def look(self, frame: Frame) -> None:
        """Search the frame that :meth:`starts_shot` took last, where it is due by the count of frames alone."""
        every = _EVERY if self.settled else _EVERY_UNTIL_FOUND
        if self._since_search is None or self._since_search >= every or self.lost:
            self.offer(self.search(frame))
            self._since_search = 0
        self._since_search += 1

    def offer(self, found: Sequence[Face]) -> None:
        """Look from now on for these faces too, which a search found in this frame or a little while ago."""
        known = [person.face for person in self._people.values()]
        self._found = [face for face in found if not _near(face, known)]
        self.lost = False

    def follow(self, frame: Frame, *, most: int | None = None) -> list[PlannedFace]:
        """The faces to restore in the frame that :meth:`starts_shot` took last, the largest first.

        Args:
            frame: that frame.
            most: faces that there is time for; None for all that the settings allow.
        """
        assert self._follower is not None
        self._in_shot += 1
        expected = [*(person.face for person in self._people.values()), *self._found]
        seen = self._detector.near(frame, expected) if expected else []
        self._found = []
        followed = self._follower.add(self._index, [face for face in seen if face is not None], self._small)
        self._index += 1
        self._take(followed)
        self._choose(most)
        planned = []
        for number, person in self._people.items():
            strength = person.strength(frame.size_hw, self.config)
            if strength > 0:
                planned.append(pipeline.PlannedFace(number, person.steady, strength))
        return sorted(planned, key=lambda face: (-face.face.size, face.track))

    def _take(self, followed: Sequence[FollowedFace]) -> None:
        seen = {self._base + number: face for number, face in followed}
        for number, face in seen.items():
            self._numbers = max(self._numbers, number + 1)
            if number not in self._people:
                smoother = None if self.config.temporal == "off" else temporal.LandmarkSmoother()
                self._people[number] = _Person(face, face, smoother)
                if self._in_shot == 1 and face.score >= self._clear:
                    self._people[number].sightings, self._people[number].shown = _SIGHTINGS, 1.0
            self._people[number].see(face, self.config.max_yaw)
        for number in [number for number in self._people if number not in seen]:
            person = self._people[number]
            person.missed += 1
            self.lost = self.lost or person.missed == 1
            if person.missed > _LAPSE:
                del self._people[number]

    def _choose(self, most: int | None) -> None:
        """Who is restored where there are more than may be."""
        people = list(self._people.values())
        if self.config.only_center_face:
            limit, rank = 1, self._off_centre
        else:
            limit, rank = self.config.max_faces, _smallness
        limit = limit if most is None else min(limit, most)
        kept = sorted(people, key=rank)[:limit]
        for person in people:
            person.settle(kept=any(person is one for one in kept))

    def _off_centre(self, person: _Person) -> float:
        height, width = self._size_hw
        away = math.dist(person.steady.centre, (width / 2, height / 2))
        return away / _KEPT if person.kept else away


def _smallness(person: _Person) -> float:
    return -person.steady.size * (_KEPT if person.kept and person.shown > 0 else 1.0)


def _near(face: Face, others: Sequence[Face]) -> bool:
    return any(math.dist(face.centre, other.centre) < _SAME * max(face.size, other.size) for other in others)


def _reduced(frame: Frame) -> Image:
    height, width = frame.size_hw
    scale = min(1.0, _SMALL / max(height, width))
    return frame.rgb(size_hw=(max(1, round(height * scale)), max(1, round(width * scale))))
