"""Find the faces of a video's frames: whole frames are searched now and then, between them faces are followed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from revisage.core import CancelledError, Face, Region, UserError
from revisage.faces.detect.candidates import Picture
from revisage.faces.detect.detector import FaceDetector
from revisage.faces.detect.followed_view import FollowedView
from revisage.faces.detect.searched_view import SearchedView, View, small_view
from revisage.faces.detect.turned_faces import STANDS

__all__ = ["VideoDetector"]

_EVERY, _WAITING = 8, 64_000_000
"""Every so many frames the whole frame is searched where nothing asks for it before; pixels of the frames that wait for
that, at most: of 8K pictures every other is searched."""
_TURNED_EVERY = 6
"""So many searches are the most from one for turned faces to the next."""
_WHOLE_EVERY = 24
"""Where no face is in view, so many looks at what is new are the most from one search of a whole frame to the next: one
that the network hardly knows may be known in a frame that looks alike."""
_BESIDE_FACES = 3
"""The same where faces are in view, and motion explains what is beside them: who comes nearer is seen a second later at
most."""
_CLEAR = 0.9
"""Score from which a face is so clear that not all of a frame is searched. Hands that pass for faces stay below."""
_UPRIGHT = 0.4
"""A face that leans less (radians) in one search does not lie in the next."""
_SAME_FACE = 0.4
"""Faces whose boxes overlap by this much (IoU) are one."""
_STILL = 0.02
"""A face that moves by less than this part of its size from frame to frame hardly moves."""
_SAME_PLACE = 0.5
"""A face less than this part of its size away from one of the search before is the same, turned or not."""


@dataclass
class _Sight:
    """A frame and what stands in it."""

    picture: Picture
    faces: list[Face] = field(default_factory=list)


class _LostError(Exception):
    """A strong face is not where it should be; holds the place of the frame in the row."""

    def __init__(self, place: int) -> None:
        self.place = place


class _Path:
    """The way of a face between two frames that were searched, ``steps`` frames apart."""

    def __init__(self, first: Face, last: Face, steps: int) -> None:
        self.seen: dict[int, Face | None] = {0: first, steps: last}
        self._first, self._last, self._steps = first, last, steps
        # What hardly moves is as well where it is between two frames as where it is found: every other will do.
        self._is_still = math.dist(first.centre, last.centre) < _STILL * steps * min(first.size, last.size)

    def is_due(self, place: int) -> bool:
        """Whether to look for it in a frame."""
        return not self._is_still or place % 2 == 0

    def at(self, place: int) -> Face:
        """Where it should be in a frame."""
        return _on_the_way(self._first, self._last, place / self._steps)

    def settled(self, place: int) -> Face | None:
        """The face in a frame, as it was seen or halfway from the frame before to the one behind."""
        if self.is_due(place):
            return self.seen[place]
        before, behind = self.seen[place - 1], self.seen.get(place + 1)
        return _on_the_way(before, behind, 0.5) if before and behind else None


class VideoDetector:
    """Feed it the frames of a video in order; it gives the faces of each, some frames later.

    The first and the last frame of each shot are searched, every eighth between them, and any in which a face is lost
    on the way. In the others faces are looked for where they should be, which costs a tenth: between two searches
    that found them (every other frame will do for what hardly moves), or back from the one and onward from the other.
    So a face is seen from the frame on in which it comes into view; one that comes and goes between two searches is
    not seen. A detector that cannot follow searches every frame.

    As long as no face is in view, only that part of a frame is searched that shows what was not searched before; where
    there may be a face, the whole frame is. In two of three searches faces that are clear are looked for where they
    were, and beside them only that is searched which motion does not explain; where one is lost, or another may be, all
    is.

    Faces that lie on their side or stand on their head are looked for in the first frame of each shot, in every sixth
    search, and where a face is gone; once found, they are followed like others. A detector that cannot follow leaves
    them out: taken for upright ones, they would have eyes painted on their chins.

    A search that fails by no fault of the user's finds nothing: hours of scanning do not hang on a frame, whose faces
    follow from those around it.

    Attributes:
        searches: frames that were searched.
        problems: why each search failed that did.

    Args:
        detector: finds the faces.
    """

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._row: list[_Sight] = []
        self._searched: _Sight | None = None
        self._turned: list[Face] = []
        self._upright_view, self._view_in_turns = SearchedView(), SearchedView()
        self._beside_faces = FollowedView()
        self.searches = self._since_turned = self._since_whole = 0
        self.problems: list[str] = []

    def add(self, picture: Picture, *, cut: bool = False) -> list[list[Face]]:
        """Take the next frame.

        Args:
            picture: the frame; it is kept until its faces are settled.
            cut: it is the first of a new shot.

        Returns:
            The faces, weak ones too, of those frames that are settled now, in order.
        """
        settled = self.close_shot() if cut else []
        self._row.append(_Sight(picture))
        if self._searched is None or len(self._row) >= self._every(picture):
            settled += self._settled()
        return settled

    def close_shot(self) -> list[list[Face]]:
        """The faces of the frames that still wait; the next frame is the first of a shot."""
        settled = self._settled() if self._row else []
        self._searched, self._turned = None, []
        self._forget_views()
        return settled

    def _every(self, picture: Picture) -> int:
        if not self._detector.can_follow:
            return 1
        height, width = picture.size_hw
        return max(2, min(_EVERY, _WAITING // (height * width)))

    def _settled(self) -> list[list[Face]]:
        """The faces of all frames that wait; the newest is searched for that."""
        row = self._row if self._searched is None else [self._searched, *self._row]
        self._search(row[-1], row[0].faces)
        self._fill(row)
        settled = [sight.faces for sight in self._row]
        self._searched, self._row = row[-1], []
        return settled

    def _search(self, sight: _Sight, before: Sequence[Face], *, whole: bool = False) -> None:
        """Find the faces of a frame. ``before``: what stood in the search before; ``whole``: one of these is lost."""
        self.searches += 1
        try:
            self._find(sight, before, whole)
        except (UserError, CancelledError):
            raise
        except Exception as error:
            self._turned, sight.faces = [], []
            self.problems.append(f"{type(error).__name__}: {' '.join(str(error).split())}")

    def _find(self, sight: _Sight, before: Sequence[Face], whole: bool) -> None:
        if not self._detector.can_follow:
            self._leave_out_turned(sight, before)
            return
        now = small_view(sight.picture)
        followed = self._followed(sight.picture, now, before) if before and not whole else None
        if followed is not None:
            sight.faces = followed
        elif before or self._may_show_face(sight.picture, now):
            sight.faces = self._in_any_turn(sight.picture, before)
            self._since_whole = 0
            if sight.faces:
                self._forget_views()
                self._beside_faces.searched(now)
            else:
                self._note_in_vain(now)

    def _followed(self, picture: Picture, now: View, before: Sequence[Face]) -> list[Face] | None:
        """The faces of the search before, where the strong ones are all in a picture and nobody else is; None where the
        whole of it must be searched to know. ``now``: its small view."""
        self._since_whole += 1
        strong = [face for face in before if self._is_strong(face)]
        if self._since_whole >= _BESIDE_FACES or min((face.score for face in strong), default=0.0) < _CLEAR:
            return None
        self._beside_faces.look(now)
        if _is_whole(self._beside_faces.news(picture.size_hw, before), picture):
            return None
        seen = self._detector.near(picture, strong, [face for face in before if not self._is_strong(face)])
        if None in seen[: len(strong)] or any(face and self._is_strong(face) for face in seen[len(strong) :]):
            return None
        faces = [face for face in seen if face]
        parts = self._beside_faces.news(picture.size_hw, faces)
        if _is_whole(parts, picture):
            return None
        found = (face for part in parts for face in self._detector.candidates(picture, within=part))
        if any(not _near(face, faces) for face in found):
            return None
        self._since_turned += 1
        return faces

    def _may_show_face(self, picture: Picture, now: View) -> bool:
        """Whether there may be a face in a picture where none was in the search before; ``now``: its small view."""
        self._since_whole += 1
        in_turns = self._since_turned + 1 >= _TURNED_EVERY
        parts = (self._view_in_turns if in_turns else self._upright_view).news(now, picture.size_hw)
        if self._since_whole >= _WHOLE_EVERY or _is_whole(parts, picture):
            return True
        if any(self._detector.candidates(picture, turned=in_turns, within=part) for part in parts):
            return True
        self._since_turned = 0 if in_turns and parts else self._since_turned + 1
        self._note_in_vain(now)
        return False

    def _note_in_vain(self, now: View) -> None:
        """Note that a search found nothing in what a small view shows."""
        self._upright_view.searched(now)
        if self._since_turned == 0:
            self._view_in_turns.searched(now)

    def _forget_views(self) -> None:
        self._upright_view.forget()
        self._view_in_turns.forget()

    def _in_any_turn(self, picture: Picture, before: Sequence[Face]) -> list[Face]:
        """The faces of a whole picture; turned ones are looked for where that may pay."""
        self._since_turned += 1
        is_due = self._searched is None or self._since_turned >= _TURNED_EVERY
        found = self._detector.candidates(picture, turned=is_due)
        strong = [face for face in before if self._is_strong(face)]
        lying = [face for face in self._detector.near(picture, [face for face in strong if face.lies]) if face]
        found = _surest(found, lying)
        if not is_due and self._is_doubtful(found, strong):
            is_due, found = True, _surest(self._detector.candidates(picture, turned=True), lying)
        self._since_turned = 0 if is_due else self._since_turned
        return found

    def _is_doubtful(self, found: Sequence[Face], before: Sequence[Face]) -> bool:
        """Whether a face of the search before is gone, or one has come that may lie, taken for upright."""
        unsure = [face for face in found if self._is_strong(face) and face.score < STANDS and not face.lies]
        upright = [face for face in before if abs(face.roll) < _UPRIGHT]
        return any(not _near(face, found) for face in before) or any(not _near(face, upright) for face in unsure)

    def _leave_out_turned(self, sight: _Sight, before: Sequence[Face]) -> None:
        found = self._detector.candidates(sight.picture)
        turned = [not _near(face, before) and self._is_turned(sight.picture, face) for face in found]
        self._turned = [face for face, bad in zip(found, turned, strict=True) if bad]
        sight.faces = [face for face, bad in zip(found, turned, strict=True) if not bad]

    def _is_turned(self, picture: Picture, face: Face) -> bool:
        if _near(face, self._turned):
            return True
        # What is too weak to be looked at now is looked at when it is strong.
        return self._is_strong(face) and self._detector.is_turned(picture, face)

    def _fill(self, row: list[_Sight]) -> None:
        """Follow faces between the first and the last of a row of frames, which were searched."""
        if len(row) < 3:
            return
        try:
            self._follow(row)
        except _LostError as lost:
            self._search(row[lost.place], row[0].faces, whole=True)
            self._fill(row[: lost.place + 1])
            self._fill(row[lost.place :])

    def _follow(self, row: list[_Sight]) -> None:
        """Faces of the frames between the first and the last: of both, then of the last alone, then of the first."""
        first, last = row[0].faces, row[-1].faces
        pairs = _pairs(first, last)
        between = list(enumerate(row[1:-1], 1))
        # A face that is weak in both is no reason to look; a tracker fills such gaps.
        paths = [_Path(a, b, len(row) - 1) for a, b in pairs if self._is_strong(a) or self._is_strong(b)]
        self._look_along(paths, between)
        for place, sight in between:
            sight.faces = [face for path in paths if (face := path.settled(place))]
        self._carry(self._new(last, [b for _, b in pairs]), between[::-1], may_end=True)
        self._carry(self._new(first, [a for a, _ in pairs]), between, may_end=False)

    def _look_along(self, paths: Sequence[_Path], between: Sequence[tuple[int, _Sight]]) -> None:
        """Look for faces on their ways, in all frames at once: where they should be follows from the ends alone.

        Raises:
            _LostError: with the first place in which a strong one is not there.
        """
        due = [(place, sight, [path for path in paths if path.is_due(place)]) for place, sight in between]
        due = [(place, sight, here) for place, sight, here in due if here]
        expected = [[path.at(place) for path in here] for place, _, here in due]
        seen = self._seen([sight.picture for _, sight, _ in due], expected)
        for (place, _, here), before, found in zip(due, expected, seen, strict=True):
            self._check(before, found, place)
            others = [path.at(place) for path in paths if not path.is_due(place)]
            for path, face in zip(here, found, strict=True):
                # In the window around one face another one may be seen, which is not looked for in this frame.
                is_other = face is not None and any(_same(face, other) for other in others)
                path.seen[place] = None if is_other else face

    def _carry(self, faces: list[Face], sights: list[tuple[int, _Sight]], *, may_end: bool) -> None:
        """Follow faces from frame to frame, until they come upon one that is known, or are not seen if they may end."""
        for place, sight in sights:
            (seen,) = self._seen([sight.picture], [faces])
            if not may_end:
                self._check(faces, seen, place)
            faces = [face for face in seen if face and not any(_same(face, other) for other in sight.faces)]
            sight.faces = [*sight.faces, *faces]

    def _seen(self, pictures: Sequence[Picture], expected: Sequence[Sequence[Face]]) -> list[list[Face | None]]:
        """The faces expected in each of some pictures as they are there; None for those that are not."""
        try:
            return self._detector.near_each(pictures, expected) if any(expected) else [[] for _ in pictures]
        except (UserError, CancelledError):
            raise
        except Exception:
            return [[None] * len(faces) for faces in expected]  # a search finds them, or says why not

    def _check(self, expected: Sequence[Face], seen: Sequence[Face | None], place: int) -> None:
        """Expect strong faces to be seen.

        Raises:
            _LostError: with the place, where one is not.
        """
        if any(face is None and self._is_strong(before) for face, before in zip(seen, expected, strict=True)):
            raise _LostError(place)

    def _new(self, faces: Sequence[Face], known: Sequence[Face]) -> list[Face]:
        return [face for face in faces if self._is_strong(face) and not any(face is one for one in known)]

    def _is_strong(self, face: Face) -> bool:
        return face.score >= self._detector.threshold


def _is_whole(parts: Sequence[Region], picture: Picture) -> bool:
    """Whether one of some parts of a picture is all of it."""
    return any(part.size_hw == picture.size_hw for part in parts)


def _surest(found: Sequence[Face], lying: Sequence[Face]) -> list[Face]:
    """All faces, and of one that was found upright and one that lies in the same place the surer."""
    standing = [face for face in found if not any(_same(face, one) and one.score > face.score for one in lying)]
    return [*standing, *(face for face in lying if not any(_same(face, one) for one in standing))]


def _near(face: Face, others: Iterable[Face]) -> bool:
    return any(math.dist(face.centre, other.centre) < _SAME_PLACE * max(face.size, other.size) for other in others)


def _pairs(first: Sequence[Face], last: Sequence[Face]) -> list[tuple[Face, Face]]:
    """Faces of two frames that are the same, the best overlaps first."""
    ranked = sorted(
        ((-_overlap(a, b), i, j) for i, a in enumerate(first) for j, b in enumerate(last) if _same(a, b)),
    )
    pairs: dict[int, int] = {}
    for _, i, j in ranked:
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    return [(first[i], last[j]) for i, j in pairs.items()]


def _on_the_way(first: Face, last: Face, part: float) -> Face:
    """Where a face should be a part of the way from one frame to another."""
    x, y, width, height = (a + (b - a) * part for a, b in zip(first.box, last.box, strict=True))
    landmarks = first.landmarks + (last.landmarks - first.landmarks) * part
    return Face((x, y, width, height), landmarks, first.score + (last.score - first.score) * part)


def _same(a: Face, b: Face) -> bool:
    return _overlap(a, b) > _SAME_FACE


def _overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.box, b.box
    across = min(ax + aw, bx + bw) - max(ax, bx)
    down = min(ay + ah, by + bh) - max(ay, by)
    shared = max(across, 0.0) * max(down, 0.0)
    return shared / (aw * ah + bw * bh - shared)
