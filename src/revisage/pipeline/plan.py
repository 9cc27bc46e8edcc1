"""Plan: which frames are worked on together, and which face of them gets what strength.

The segments follow from the scan alone (shots first, then at most ``LONGEST`` frames), and where packets are copied
from the source's closed groups, never from the number of workers: the same work gives the same bytes wherever it runs.

A recursion over time remembers all that was before, so its result would depend on where a segment begins. Each shot is
therefore cut into blocks. A block's recursion begins a few frames before it and ends with it, whatever segment the
block is in; segments begin at blocks and read those few frames too. Any split into segments then gives the same pixels.
"""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from revisage.core import ConfigError, Levels, RestoreConfig, ScanMismatchError, nearest
from revisage.faces import FineChoice, share_in_frame, track_choices, turn_weights
from revisage.pipeline.restoration import Block, PlannedFace, colour_levels
from revisage.pipeline.scan import Scan, ScannedTrack

if TYPE_CHECKING:
    from revisage.people import Guide

__all__ = [
    "BLOCK",
    "LONGEST",
    "Plan",
    "Segment",
    "blocks_of",
    "busiest_frame",
    "make_plan",
    "place_weight",
    "planned_faces",
    "planned_levels",
    "usual_step",
    "whole",
]

LONGEST = 250
"""Frames of a segment at most: a key-frame distance that encoders use anyway, and little work lost in a crash."""

_SHORT = 25
"""Frames below which a shot has no segment of its own: each costs an encoder, and a source without an index, such as a
GIF, is read from its beginning for each."""

BLOCK = 32
"""Frames of a block at most: with two passes so many frames wait in memory."""

RUN_IN = 8
"""Frames before a block (and after it, with two passes) that its recursion reads first: 0.8 to the 8th is 0.17."""

_SOFT = 1.2
"""A face of an allowed track that gets smaller than ``min_face`` (larger than ``max_face``) fades out within this
factor instead of switching off."""

_CUT_OFF = (0.6, 0.8)
"""Shares of a face that lie in the frame: with the first it is left alone, with the second fully restored. Outside of
the frame the restorer is shown a mirror image. Up to a third of it does no harm; where half of the face was mirrored,
what it changed was measured to jump from one frame to the next by four times, lashes and cheeks drawn as if in ink."""


T = TypeVar("T")

Span = tuple[int, int]
"""Start and stop (excluded) of frames of the scan."""


@dataclass(frozen=True)
class Segment:
    """Frames ``start`` to ``stop`` (excluded) of the scan, restored and encoded as one piece, or copied.

    Attributes:
        number: counted from 0.
        start, stop: indices of frames in the scan.
        first_pts: pts of the first frame that is read, to begin decoding at.
        blocks: where recursions over time begin anew; none where there are no recursions.
        copied: whether the source's packets are taken over as they are.
        before, after: frames read further before and after for what they tell of their neighbours.
    """

    number: int
    start: int
    stop: int
    first_pts: int
    blocks: tuple[Block, ...] = ()
    copied: bool = False
    before: int = 0
    after: int = 0

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.stop - self.start

    @property
    def read(self) -> range:
        """Frames that are read: those that are worked on, and their neighbours."""
        worked = self.worked
        return range(worked.start - self.before, worked.stop + self.after)

    @property
    def worked(self) -> range:
        """Frames that are worked on: those of the segment, and those around it that its recursions begin with."""
        if not self.blocks:
            return range(self.start, self.stop)
        return range(self.blocks[0].first, self.blocks[-1].last)


@dataclass(frozen=True)
class Plan:
    """All that a run will do, known before the expensive pass.

    Attributes:
        segments: in presentation order.
        weights: for each track id, the strength in each of its frames.
        fine: for each track id, what is done with its fine detail in each of its frames.
        faces: number of faces that will be restored, over all frames.
        beyond: number of faces left alone for ``max_faces``.
        tracks: of the scan, with their places in it, by their first frame: what a segment needs is found by bisection.
    """

    segments: tuple[Segment, ...]
    weights: Mapping[int, list[float]]
    fine: Mapping[int, Sequence[FineChoice]]
    faces: int
    beyond: int
    tracks: tuple[tuple[int, ScannedTrack], ...]


def make_plan(
    scan: Scan, config: RestoreConfig, *, longest: int = LONGEST, groups: Callable[[], Sequence[Span]] = tuple
) -> Plan:
    """Cut a scan into segments and settle the strength of each face.

    Args:
        scan: of the source.
        config: of the run.
        longest: frames of an encoded segment at most.
        groups: gives the spans of frames that can be copied, each by itself; asked where there is something to copy.
    """
    weights, beyond = _chosen_weights(scan, config)
    faces = sum(weight > 0 for strengths in weights.values() for weight in strengths)
    copied = _copied(scan, weights, groups)
    fine = {track.id: track_choices(track.detail, len(track.boxes)) for track in scan.tracks}
    return Plan(_segments(scan, config, longest, copied), weights, fine, faces, beyond, _by_start(scan.tracks))


def _by_start(tracks: Iterable[ScannedTrack]) -> tuple[tuple[int, ScannedTrack], ...]:
    return tuple(sorted(enumerate(tracks), key=_start))


def _start(entry: tuple[int, ScannedTrack]) -> int:
    return entry[1].start


def _within(tracks: Sequence[tuple[int, ScannedTrack]], start: int, stop: int) -> list[ScannedTrack]:
    """Those that begin in frames ``start`` to ``stop`` (excluded), as the scan has them in order."""
    found = tracks[bisect.bisect_left(tracks, start, key=_start) : bisect.bisect_left(tracks, stop, key=_start)]
    return [track for _, track in sorted(found, key=lambda entry: entry[0])]


def planned_faces(
    scan: Scan, plan: Plan, segment: Segment, guides: Mapping[int, Guide] | None = None
) -> tuple[tuple[PlannedFace, ...], ...]:
    """For each frame that a segment reads the faces to restore in it, with the guides of their tracks."""
    read, guides = segment.read, guides or {}
    frames: list[list[PlannedFace]] = [[] for _ in read]
    shot = scan.shots[bisect.bisect_right(scan.shots, read.start, key=lambda shot: shot[0]) - 1]
    for track in _within(plan.tracks, shot[0], read.stop):
        guide, fine = guides.get(track.id), plan.fine[track.id]
        for index in range(max(track.start, read.start), min(track.stop, read.stop)):
            place = index - track.start
            strength = plan.weights[track.id][place]
            if strength > 0:
                frames[index - read.start].append(
                    PlannedFace(track.id, track.face(index), strength, guide, fine[place])
                )
    return tuple(map(tuple, frames))


def planned_levels(scan: Scan, segment: Segment, config: RestoreConfig) -> tuple[Levels | None, ...]:
    """For each frame that a segment reads the levels of its shot; empty where colours are left as they are.

    Raises:
        ScanMismatchError: the scan was made by a version that did not look at colours.
    """
    if config.color != "restore":
        return ()
    if not scan.colours:
        raise ScanMismatchError("color restore needs a scan that tells the colours of each shot; scan the source again")
    levels = [colour_levels(ends) for ends in scan.colours]
    shots = (bisect.bisect_right(scan.shots, index, key=_begin) - 1 for index in segment.read)
    return tuple(levels[shot] for shot in shots)


def busiest_frame(scan: Scan, plan: Plan) -> int:
    """The frame with the largest face that will be restored; the middle one when there is none."""
    best = (0.0, scan.frames // 2)
    for track in scan.tracks:
        for offset, (box, weight) in enumerate(zip(track.boxes, plan.weights[track.id], strict=True)):
            if weight * max(box[2], box[3]) > best[0]:
                best = (weight * max(box[2], box[3]), track.start + offset)
    return best[1]


def whole(scan: Scan, config: RestoreConfig | None = None) -> Segment:
    """All frames as one segment, for outputs that are written in one pass; without a config without recursions."""
    blocks = [] if config is None else [block for shot in scan.shots for block in blocks_of(*shot, config)]
    return _segment(scan, 0, (0, scan.frames), blocks)


def _copied(
    scan: Scan, weights: Mapping[int, Sequence[float]], groups: Callable[[], Sequence[Span]]
) -> tuple[Span, ...]:
    """The spans of frames to copy: closed groups in which no face is restored, as far as they lie together."""
    touched = np.zeros(scan.frames, dtype=bool)
    for track in scan.tracks:
        touched[track.start : track.stop] |= np.array(weights[track.id]) > 0
    stops = np.flatnonzero(np.concatenate(([True], touched, [True])))
    if np.diff(stops).max() <= min(_SHORT, scan.frames):
        return ()
    before = np.concatenate(([0], np.cumsum(touched)))
    spans: list[Span] = []
    for start, stop in groups():
        if before[start] != before[stop]:
            continue
        if spans and spans[-1][1] == start:
            start, _ = spans.pop()
        spans.append((start, stop))
    return tuple(span for span in spans if span[1] - span[0] >= min(_SHORT, scan.frames))


def _segments(scan: Scan, config: RestoreConfig, longest: int, copied: Sequence[Span]) -> tuple[Segment, ...]:
    blocks = [block for shot in scan.shots for block in blocks_of(*shot, config)]
    segments: list[Segment] = []
    for start, stop in (*copied, (scan.frames, scan.frames)):
        between = (segments[-1].stop if segments else 0, start)
        for first, end, inside in _encoded(scan, blocks, longest, between):
            segments.append(_segment(scan, len(segments), (first, end), inside, neighbours=config.dust))
        if start < stop:
            segments.append(Segment(len(segments), start, stop, scan.pts[start], copied=True))
    return tuple(segments)


def _encoded(
    scan: Scan, blocks: Sequence[Block], longest: int, span: Span
) -> Iterator[tuple[int, int, Sequence[Block]]]:
    """Start, stop and blocks of each segment of the frames between two copied spans."""
    shots = [(max(shot[0], span[0]), min(shot[1], span[1])) for shot in _reaching_into(scan.shots, span, _begin)]
    for joined in _joined(shots, longest):
        start, stop = joined[0][0], joined[-1][1]
        inside = [_within_span(b, span) for b in _reaching_into(blocks, (start, stop), lambda block: block.start)]
        marks = [block.start for block in inside] or range(start, stop)
        most = longest // BLOCK if inside else longest
        pieces = math.ceil(len(marks) / max(1, most)) if len(joined) == 1 else 1
        places = [len(marks) * piece // pieces for piece in range(pieces + 1)]
        for place, next_place in itertools.pairwise(places):
            end = marks[next_place] if next_place < len(marks) else stop
            yield marks[place], end, inside[place:next_place]


def _reaching_into(items: Sequence[T], span: Span, start: Callable[[T], int]) -> Sequence[T]:
    """Those of items in a row, each of which ends where the next one starts, that lie in a span or partly so."""
    if span[0] == span[1]:
        return ()
    return items[
        max(0, bisect.bisect_right(items, span[0], key=start) - 1) : bisect.bisect_left(items, span[1], key=start)
    ]


def _begin(span: Span) -> int:
    return span[0]


def _within_span(block: Block, span: Span) -> Block:
    """A block without the frames outside of a span; they are copied, and no recursion is about them."""
    first, last = span
    return Block(max(block.start, first), min(block.stop, last), max(block.first, first), min(block.last, last))


def _joined(shots: Sequence[tuple[int, int]], longest: int) -> list[list[tuple[int, int]]]:
    """Each shot by itself, but short ones in a row together, ``longest`` frames at most."""
    joined: list[list[tuple[int, int]]] = []
    for start, stop in shots:
        row = joined[-1] if joined else []
        if row and stop - row[0][0] <= longest and stop - start < _SHORT and row[0][1] - row[0][0] < _SHORT:
            row.append((start, stop))
        else:
            joined.append([(start, stop)])
    return joined


def _segment(scan: Scan, number: int, span: Span, inside: Sequence[Block], *, neighbours: bool = False) -> Segment:
    """A segment; with ``neighbours`` it reads the frame before it and the one after, where those are of its shots."""
    segment = Segment(number, *span, 0, tuple(inside))
    if neighbours:
        cuts = {edge for shot in scan.shots for edge in shot}
        before, after = int(segment.worked.start not in cuts), int(segment.worked.stop not in cuts)
        segment = replace(segment, before=before, after=after)
    return replace(segment, first_pts=scan.pts[segment.read.start])


def blocks_of(first: int, last: int, config: RestoreConfig) -> list[Block]:
    """The blocks of the shot of frames ``first`` to ``last`` (excluded); none where nothing is averaged over time."""
    if not config.recurrent:
        return []
    edges = [*range(first, last, BLOCK), last]
    ahead = RUN_IN if config.temporal_passes > 1 else 0
    return [
        Block(begin, end, max(begin - RUN_IN, first), min(end + ahead, last))
        for begin, end in itertools.pairwise(edges)
    ]


def usual_step(pts: Sequence[int]) -> int:
    """The usual time between two frames of a scan, at least 1 (in its time base)."""
    steps = [after - before for before, after in itertools.pairwise(pts)]
    return max(1, statistics.median_low(steps)) if steps else 1


def _chosen_weights(scan: Scan, config: RestoreConfig) -> tuple[dict[int, list[float]], int]:
    """For each track id the strength of each of its frames, 0 where the face is left alone; and how many faces are left
    alone because there are more than ``max_faces``.

    ``min_face`` and ``max_face`` compare with a track's median size, ``max_faces`` and ``only_center_face`` choose
    whole tracks too (the largest, the most central of those in view together): a choice made anew in each frame
    would flicker.
    """
    chosen = [track for track in scan.tracks if config.aligned or _in_limits(_typical_size(track), config)]
    allowed = _by_start(_of_people(chosen, scan, config))
    weights = {track.id: [0.0] * len(track.boxes) for track in scan.tracks}
    beyond = 0
    for shot in scan.shots:
        tracks = _within(allowed, *shot)
        kept = _kept(tracks, scan, config)
        for track in kept:
            weights[track.id] = _weights(track, scan.size_hw, config)
        if not config.only_center_face:
            beyond += sum(len(track.boxes) for track in tracks if track not in kept)
    return weights, beyond


def _of_people(tracks: Sequence[ScannedTrack], scan: Scan, config: RestoreConfig) -> list[ScannedTrack]:
    """The tracks of those people whom ``only`` and ``except_`` let through.

    Raises:
        ConfigError: nobody has looked who is who, or nobody has a name that is asked for.
    """
    asked = config.only or config.except_
    if not asked:
        return list(tracks)
    word = "only" if config.only else "except"
    there = {track.person for track in scan.tracks if track.person is not None}
    if scan.tracks and not there and not config.who:
        raise ConfigError(
            f"{word} {asked[0]}: nobody has said who is who; give who NAME=photo.jpg, or a scan with people in it "
            "(revisage analyze writes one with --save-scan)"
        )
    known = there | {text.partition("=")[0].strip() for text in config.who}
    names = {name.casefold() for name in known}
    for name in asked:
        if scan.tracks and name.casefold() not in names:
            listed = ", ".join(sorted(known))
            raise ConfigError(f"{word} {name}: nobody is called so{nearest(name, known)} (there are: {listed})")
    wanted = {name.casefold() for name in asked}
    return [track for track in tracks if ((track.person or "").casefold() in wanted) == bool(config.only)]


def _typical_size(track: ScannedTrack) -> float:
    return statistics.median(max(box[2], box[3]) for box in track.boxes)


def _in_limits(size: float, config: RestoreConfig) -> bool:
    return config.min_face <= size and (config.max_face is None or size <= config.max_face)


def _weights(track: ScannedTrack, size_hw: tuple[int, int], config: RestoreConfig) -> list[float]:
    strength = config.strength if track.strength is None else track.strength
    if config.aligned:
        return [strength] * len(track.boxes)
    turns = turn_weights([np.reshape(points, (5, 2)) for points in track.landmarks], config.max_yaw)
    return [
        round(strength * fade * turn * place_weight(box, points, size_hw, config), 4)
        for box, points, fade, turn in zip(track.boxes, track.landmarks, track.weights, turns, strict=True)
    ]


def place_weight(box: Sequence[float], points: ArrayLike, size_hw: tuple[int, int], config: RestoreConfig) -> float:
    """How far a face is restored for its size and for where it stands, 0 to 1.

    Args:
        box: left, top, width, height (px).
        points: its five landmarks (px).
        size_hw: of the frame (px).
        config: ``min_face`` and ``max_face`` are looked at.
    """
    return _size_weight(max(box[2], box[3]), config) * _frame_weight(points, size_hw)


def _frame_weight(points: ArrayLike, size_hw: tuple[int, int]) -> float:
    """1 for a face in the frame, falling to 0 where its edge cuts off too much for a restorer to know it as a face."""
    share = share_in_frame(np.reshape(points, (5, 2)), size_hw)
    return min(1.0, max(0.0, (share - _CUT_OFF[0]) / (_CUT_OFF[1] - _CUT_OFF[0])))


def _size_weight(size: float, config: RestoreConfig) -> float:
    """1 within the limits, falling to 0 where a face is ``_SOFT`` times too small or too large."""
    low = (size * _SOFT - config.min_face) / (config.min_face * (_SOFT - 1))
    high = math.inf
    if config.max_face is not None:
        high = (config.max_face * _SOFT - size) / (config.max_face * (_SOFT - 1))
    return min(1.0, max(0.0, low), max(0.0, high))


def _kept(shot: list[ScannedTrack], scan: Scan, config: RestoreConfig) -> list[ScannedTrack]:
    """Tracks of one shot that ``max_faces`` and ``only_center_face`` let through."""
    if config.only_center_face:
        most, ranked = 1, sorted(shot, key=lambda track: (_off_centre(track, scan), track.id))
    else:
        most, ranked = config.max_faces, sorted(shot, key=lambda track: (-_typical_size(track), track.id))
    kept: list[ScannedTrack] = []
    for track in ranked:
        if _most_at_once(track, kept) < most:
            kept.append(track)
    return kept


def _most_at_once(track: ScannedTrack, kept: list[ScannedTrack]) -> int:
    """How many of the kept tracks stand in one frame of ``track`` at most."""
    together = [other for other in kept if other.start < track.stop and track.start < other.stop]
    starts = {track.start, *(other.start for other in together if other.start > track.start)}
    return max(sum(other.start <= index < other.stop for other in together) for index in starts)


def _off_centre(track: ScannedTrack, scan: Scan) -> float:
    """Mean distance of the track's boxes from the middle of the frame (px)."""
    height, width = scan.size_hw
    return statistics.fmean(math.hypot(x + w / 2 - width / 2, y + h / 2 - height / 2) for x, y, w, h in track.boxes)
