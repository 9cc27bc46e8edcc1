"""Whether somebody who was out of view within a shot is the same as before: by identity, where a reader tells.

A tracker joins what it has lost by place and looks, and for a short time only. Here the faces at both ends of each
absence are read: two tracks of one person become one, and a track that went on as somebody else becomes two.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from revisage.core import CancelToken, Face, Track
from revisage.faces import track_of
from revisage.people.grouping import group
from revisage.people.observation import Footage, TrackReading, observe
from revisage.readers import SAME_PERSON, Recogniser

__all__ = ["rejoined"]

_ABSENT = 8
"""A track that was not seen for more frames than this may have gone on as somebody else."""

_LONGEST = 10.0
"""Seconds after which an absence is none any more: who comes back then is found by who looks over the whole film."""

_OTHER = 0.3
"""Cosine below which what a tracker took for one person is two."""

_LOOKED_AT = 12
"""Frames of each end that the best faces are chosen from."""

_SIZE_RATIO = 2.0
"""Somebody who comes back is at most so many times as large, or as small."""


@dataclass(eq=False)
class _Piece:
    """A track, or a part of one between two absences.

    Attributes:
        number: place among the pieces.
        track: that it is of.
        seen: its faces by frame, those that were seen.
        shot: start and stop (excluded) of the shot that it is in.
    """

    number: int
    track: Track
    seen: dict[int, Face]
    shot: tuple[int, int]

    @property
    def start(self) -> int:
        return min(self.seen)

    @property
    def last(self) -> int:
        return max(self.seen)

    def end(self, *, head: bool) -> Track:
        """Its first frames, or its last ones, as a track of their own."""
        frames = [i for i in self.seen if (i < self.start + _LOOKED_AT if head else i > self.last - _LOOKED_AT)]
        return replace(track_of(2 * self.number + head, {i: self.seen[i] for i in frames}, self.shot), strength=None)


def rejoined(
    footage: Footage, recogniser: Callable[[], Recogniser | None], cancel: CancelToken | None = None
) -> list[Track] | None:
    """The tracks of a source, each of one person of a shot, as far as a reader can tell.

    Args:
        footage: source and tracks.
        recogniser: gives what tells identities; asked only where somebody was out of view.
        cancel: looked at between frames.

    Returns:
        All tracks, numbered anew by their first frame; None where they stay as they are.

    Raises:
        ProcessingError: the source is not what it was when the faces were found.
        CancelledError: a stop was asked for.
    """
    pieces = list(_pieces(footage))
    absences = list(_absences(pieces, footage.step))
    tells = recogniser() if absences else None
    if tells is None:
        return None
    ends = _read(footage, absences, tells, cancel)
    following = _following(absences, ends)
    tracked = {a.number: b for a, b in itertools.pairwise(pieces) if a.track is b.track}
    return None if following == tracked else _chained(pieces, following)


def _pieces(footage: Footage) -> Iterator[_Piece]:
    number = 0
    for track in footage.tracks:
        shot = next(shot for shot in footage.shots if shot[0] <= track.start < shot[1])
        part: dict[int, Face] = {}
        for index, (face, seen) in enumerate(zip(track.faces, track.seen, strict=True), track.start):
            if not seen and any(track.seen):
                continue
            if part and index - max(part) - 1 > _ABSENT:
                yield _Piece(number, track, part, shot)
                number, part = number + 1, {}
            part[index] = face
        yield _Piece(number, track, part, shot)
        number += 1


def _absences(pieces: Sequence[_Piece], step: float) -> Iterator[tuple[_Piece, _Piece]]:
    """Pieces of which the second may go on with the first."""
    by_shot: dict[tuple[int, int], list[_Piece]] = defaultdict(list)
    for piece in pieces:
        by_shot[piece.shot].append(piece)
    for inside in by_shot.values():
        for before in inside:
            for after in inside:
                away = after.start - before.last - 1
                sizes = before.seen[before.last].size, after.seen[after.start].size
                alike = max(sizes) <= _SIZE_RATIO * min(sizes)
                if before.last < after.start and ((away * step <= _LONGEST and alike) or before.track is after.track):
                    yield before, after


def _read(
    footage: Footage, absences: Sequence[tuple[_Piece, _Piece]], recogniser: Recogniser, cancel: CancelToken | None
) -> dict[tuple[int, bool], TrackReading]:
    """What is read of the ends of pieces, by the piece's number and whether it is the head."""
    ends: dict[tuple[int, bool], Track] = {}
    for before, after in absences:
        ends[before.number, False] = before.end(head=False)
        ends[after.number, True] = after.end(head=True)
    readings = observe(replace(footage, tracks=list(ends.values())), recogniser, every=None, cancel=cancel)
    return dict(zip(ends, readings, strict=True))


def _following(
    absences: Sequence[tuple[_Piece, _Piece]], ends: dict[tuple[int, bool], TrackReading]
) -> dict[int, _Piece]:
    """By a piece's number the one that goes on with it: the most alike first; where nobody can be told, as tracked."""
    ranked: list[tuple[float, int, int, _Piece]] = []
    for before, after in absences:
        tracked = before.track is after.track and after.number == before.number + 1
        alike = _likeness(ends[before.number, False], ends[after.number, True], tracked=tracked)
        if alike is not None:
            ranked.append((-alike, after.start - before.last, before.number, after))
    following: dict[int, _Piece] = {}
    taken: set[int] = set()
    for _, _, before_number, after in sorted(ranked, key=lambda entry: (*entry[:3], entry[3].number)):
        if before_number not in following and after.number not in taken:
            following[before_number] = after
            taken.add(after.number)
    return following


def _likeness(tail: TrackReading, head: TrackReading, *, tracked: bool) -> float | None:
    """Cosine of two ends of one person, None of two people; ends that were tracked as one are, unless surely two."""
    if not (tail.identity.any() and head.identity.any()):
        return 0.0 if tracked else None
    both: NDArray[np.float32] = np.stack([tail.identity, head.identity])
    alike = float(both[0] @ both[1])
    if group(both, [], SAME_PERSON, [tail.worth, head.worth]) == [0, 0]:
        return alike
    return alike if tracked and alike >= _OTHER else None


def _chained(pieces: Sequence[_Piece], following: dict[int, _Piece]) -> list[Track]:
    """Tracks of the pieces that follow one another; those of which nothing changed stay as they are."""
    continued = {piece.number for piece in following.values()}
    tracks: list[Track] = []
    for piece in pieces:
        if piece.number in continued:
            continue
        chain = [piece]
        while chain[-1].number in following:
            chain.append(following[chain[-1].number])
        tracks.append(_joined(chain, pieces))
    tracks.sort(key=lambda track: (track.start, track.faces[0].centre))
    return [replace(track, id=number) for number, track in enumerate(tracks)]


def _joined(chain: Sequence[_Piece], pieces: Sequence[_Piece]) -> Track:
    first = chain[0].track
    if all(piece.track is first for piece in chain) and len(chain) == sum(piece.track is first for piece in pieces):
        return first
    seen = {index: face for piece in chain for index, face in piece.seen.items()}
    return replace(track_of(first.id, seen, chain[0].shot), strength=first.strength)
