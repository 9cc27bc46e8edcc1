"""Which faces of a scan are restored, and how strongly: size, number and centre, decided so that nothing flickers."""

from __future__ import annotations

import math
import statistics

from revisage.core import RestoreConfig
from revisage.pipeline.scan import Scan, ScannedTrack

__all__ = ["chosen_weights"]

_SOFT = 1.2
"""A face of an allowed track that gets smaller than ``min_face`` (larger than ``max_face``) fades out within this
factor instead of switching off."""


def chosen_weights(scan: Scan, config: RestoreConfig) -> dict[int, list[float]]:
    """For each track id the strength of each of its frames, 0 where the face is left alone.

    ``min_face`` and ``max_face`` compare with a track's median size, ``max_faces`` and ``only_center_face`` choose
    whole tracks too (the largest, the most central of those in view together): a choice made anew in each frame
    would flicker.
    """
    allowed = [track for track in scan.tracks if config.aligned or _in_limits(_typical_size(track), config)]
    weights = {track.id: [0.0] * len(track.boxes) for track in scan.tracks}
    for start, stop in scan.shots:
        shot = [track for track in allowed if start <= track.start < stop]
        for track in _kept(shot, scan, config):
            weights[track.id] = _weights(track, config)
    return weights


def _typical_size(track: ScannedTrack) -> float:
    return statistics.median(max(box[2], box[3]) for box in track.boxes)


def _in_limits(size: float, config: RestoreConfig) -> bool:
    return config.min_face <= size and (config.max_face is None or size <= config.max_face)


def _weights(track: ScannedTrack, config: RestoreConfig) -> list[float]:
    strength = config.strength if track.strength is None else track.strength
    if config.aligned:
        return [strength] * len(track.boxes)
    return [
        round(strength * fade * _size_weight(max(box[2], box[3]), config), 4)
        for box, fade in zip(track.boxes, track.weights, strict=True)
    ]


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
