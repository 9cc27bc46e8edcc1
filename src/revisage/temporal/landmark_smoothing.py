"""Steady the landmarks of a track, without lag."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from revisage.core import Face, Track

__all__ = ["smooth_track"]

_REACH, _SIGMA_FRAMES = 12, 6.0
"""Frames to either side that are looked at, and the width of their weights in time."""

_TIMES_NOISE, _LEAST_MOVE, _MOST_MOVE = 3.0, 0.03, 0.1
"""The range kernel forgives so many times the detector's own noise, within bounds that are parts of the face's size:
where a face is in another place beyond doubt, it moved."""

_FILLED_WEIGHT = 0.25
"""A face that was filled in repeats its neighbours: it says less."""


def smooth_track(track: Track) -> Track:
    """A track whose landmarks and boxes are smoothed over time.

    A local linear fit at each frame over the 12 frames to either side, weighted by distance in time (Gaussian) and in
    place (bilateral; Tomasi and Manduchi 1998). A face that is still, within the noise of its own detections, is
    averaged over all of them; a moving one over the few frames where it is nearly in the same place; a jump is kept.
    The past and the future weigh the same, so nothing
    lags, and the fit's slope keeps steady motion unbiased even at the ends of the track.

    Single outliers do not attract: places are compared on a running median, and a frame that departs from it
    counts little.
    """
    count = len(track.faces)
    if count < 3:
        return track
    values = np.array([[*face.landmarks.ravel(), *face.box] for face in track.faces], dtype=np.float64)
    size = float(np.median([face.size for face in track.faces]))
    trust = np.where(track.seen, 1.0, _FILLED_WEIGHT)
    sigma = float(np.clip(_TIMES_NOISE * _noise(values[:, :10]), _LEAST_MOVE * size, _MOST_MOVE * size))
    smooth = _bilateral_fit(values, trust, sigma)
    faces = tuple(_replaced(face, row) for face, row in zip(track.faces, smooth, strict=True))
    return Track(track.id, track.start, faces, track.seen, track.weights, track.strength)


def _replaced(face: Face, row: NDArray[np.float64]) -> Face:
    x, y, width, height = (float(v) for v in row[10:])
    return Face((x, y, max(width, 1e-3), max(height, 1e-3)), row[:10].reshape(5, 2).astype(np.float32), face.score)


def _bilateral_fit(values: NDArray[np.float64], trust: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Local linear fits: ``values`` (frames, coordinates), ``trust`` (frames,), ``sigma`` in px."""
    guide = _running_median(values[:, :10])
    trust = trust * np.exp(-_squared_move(values[:, :10], guide) / (2 * sigma**2))
    count = len(values)
    weight_sum, first, second = np.zeros((3, count, 1))
    value_sum, value_first = np.zeros((2, count, values.shape[1]))
    for offset in range(-_REACH, _REACH + 1):
        here = slice(max(0, -offset), min(count, count - offset))
        there = slice(max(0, offset), min(count, count + offset))
        if here.start >= here.stop:
            continue
        near = np.exp(-_squared_move(guide[here], guide[there]) / (2 * sigma**2))
        weight = (trust[there] * near * np.exp(-0.5 * (offset / _SIGMA_FRAMES) ** 2))[:, None]
        weight_sum[here] += weight
        first[here] += weight * offset
        second[here] += weight * offset**2
        value_sum[here] += weight * values[there]
        value_first[here] += weight * offset * values[there]
    # The slope is held back where the frames hardly spread over time: it would be noise.
    spread = weight_sum * second - first**2
    slope = (weight_sum * value_first - first * value_sum) / (spread + 0.01 * weight_sum**2)
    fitted: NDArray[np.float64] = (value_sum - slope * first) / weight_sum
    return fitted


def _noise(landmarks: NDArray[np.float64]) -> float:
    """Standard deviation of the detector's jitter (px), from second differences: steady motion has none, and the
    median passes over the moments where the face speeds up."""
    bends = np.abs(np.diff(landmarks, 2, axis=0))
    return 1.4826 * float(np.median(bends)) / float(np.sqrt(6))


def _squared_move(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean squared distance of the landmarks (px²)."""
    moved: NDArray[np.float64] = np.square(a - b).sum(axis=1) / 5
    return moved


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of five frames, of three and one at the ends."""
    median = values.copy()
    for reach in (1, 2):
        if len(values) > 2 * reach:
            windows = np.lib.stride_tricks.sliding_window_view(values, 2 * reach + 1, axis=0)
            median[reach:-reach] = np.median(windows, axis=-1)
    return median
