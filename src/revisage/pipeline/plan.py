"""Plan: which frames are worked on together, and which face of them gets what strength.

The segments follow from the scan alone (shot cuts first, then at most ``LONGEST`` frames), never from the number of
workers: the same work gives the same bytes wherever it runs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from revisage.core import Face, RestoreConfig
from revisage.pipeline import blocks
from revisage.pipeline.blocks import Block
from revisage.pipeline.choose import chosen_weights
from revisage.pipeline.scan import Scan

__all__ = [
    "LONGEST",
    "Plan",
    "PlannedFace",
    "Segment",
    "busiest_frame",
    "make_plan",
    "planned_faces",
    "whole",
]

LONGEST = 250
"""Frames of a segment at most: a key-frame distance that encoders use anyway, and little work lost in a crash."""


@dataclass(frozen=True)
class Segment:
    """Frames ``start`` to ``stop`` (excluded) of the scan, restored and encoded as one piece.

    Attributes:
        number: counted from 0.
        start, stop: indices of frames in the scan.
        first_pts: pts of the first frame that is read, to begin decoding at.
        blocks: where recursions over time begin anew; none where there are no recursions.
    """

    number: int
    start: int
    stop: int
    first_pts: int
    blocks: tuple[Block, ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.stop - self.start

    @property
    def read(self) -> range:
        """Frames that are read: those of the segment, and those around it that its recursions begin with."""
        if not self.blocks:
            return range(self.start, self.stop)
        return range(self.blocks[0].first, self.blocks[-1].last)


@dataclass(frozen=True)
class PlannedFace:
    """A face to restore in one frame, and how strongly (above 0, at most 1)."""

    track: int
    face: Face
    strength: float


@dataclass(frozen=True)
class Plan:
    """All that a run will do, known before the expensive pass.

    Attributes:
        segments: in presentation order.
        weights: for each track id, the strength in each of its frames.
        faces: number of faces that will be restored, over all frames.
        frames_with_faces: number of frames that will be changed.
    """

    segments: tuple[Segment, ...]
    weights: Mapping[int, list[float]]
    faces: int
    frames_with_faces: int


def make_plan(scan: Scan, config: RestoreConfig, *, longest: int = LONGEST) -> Plan:
    """Cut a scan into segments and settle the strength of each face."""
    weights = chosen_weights(scan, config)
    counts = [0] * scan.frames
    for track in scan.tracks:
        for offset, weight in enumerate(weights[track.id]):
            counts[track.start + offset] += weight > 0
    return Plan(_segments(scan, config, longest), weights, sum(counts), sum(count > 0 for count in counts))


def planned_faces(scan: Scan, plan: Plan, segment: Segment) -> tuple[tuple[PlannedFace, ...], ...]:
    """For each frame that a segment reads the faces to restore in it."""
    read = segment.read
    frames: list[list[PlannedFace]] = [[] for _ in read]
    for track in scan.tracks:
        for index in range(max(track.start, read.start), min(track.stop, read.stop)):
            strength = plan.weights[track.id][index - track.start]
            if strength > 0:
                frames[index - read.start].append(PlannedFace(track.id, track.face(index), strength))
    return tuple(map(tuple, frames))


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
    return _segment(scan, config, 0, 0, scan.frames)


def _segments(scan: Scan, config: RestoreConfig, longest: int) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    step = blocks.BLOCK if config.recurrent else 1
    for start, stop in scan.shots:
        steps = math.ceil((stop - start) / step)
        pieces = math.ceil(steps / max(1, longest // step))
        edges = [min(start + steps * piece // pieces * step, stop) for piece in range(pieces + 1)]
        for first, end in itertools.pairwise(edges):
            segments.append(_segment(scan, config, len(segments), first, end))
    return tuple(segments)


def _segment(scan: Scan, config: RestoreConfig | None, number: int, start: int, stop: int) -> Segment:
    inside: tuple[Block, ...] = ()
    if config is not None and config.recurrent:
        inside = blocks.blocks_of(scan.shots, start, stop, ahead=config.temporal_passes > 1)
    first = inside[0].first if inside else start
    return Segment(number, start, stop, scan.pts[first], inside)
