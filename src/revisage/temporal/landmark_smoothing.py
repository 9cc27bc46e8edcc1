"""Steady the landmarks of a track, without lag: of a whole track, or of one that is still going on."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from revisage.core import Face, Track, median

__all__ = ["LandmarkSmoother", "smooth_track"]

_REACH, _SIGMA_FRAMES = 12, 6.0
"""Frames to either side that are looked at, and the width of their weights in time."""

_TIMES_NOISE, _LEAST_MOVE, _MOST_MOVE = 3.0, 0.03, 0.1
"""The range kernel forgives so many times the detector's own noise, within bounds that are parts of the face's size:
where a face is in another place beyond doubt, it moved."""

_FILLED_WEIGHT = 0.25
"""A face that was filled in repeats its neighbours: it says less."""

_SURE = 3.0
"""A speed counts as far as its square is above so many times what noise alone would make of it."""


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
    size = median([face.size for face in track.faces])
    trust = np.where(track.seen, 1.0, _FILLED_WEIGHT)
    sigma = float(np.clip(_TIMES_NOISE * _noise(values[:, :10]), _LEAST_MOVE * size, _MOST_MOVE * size))
    smooth = _bilateral_fit(values, trust, sigma)
    faces = tuple(_replaced(face, row) for face, row in zip(track.faces, smooth, strict=True))
    return Track(track.id, track.start, faces, track.seen, track.weights, track.strength)


class LandmarkSmoother:
    """Steadies the landmarks of one face frame by frame, from the past alone.

    The fit of :func:`smooth_track` at the newest frame, over the 12 before it. At the end of what is known a slope that
    is only noise would shake a still face more than no fit at all, so it counts as far as it is beyond the detector's
    own noise: a still face is averaged, one that moves steadily is where it is, not where it was.
    """

    def __init__(self) -> None:
        self._rows: deque[NDArray[np.float64]] = deque(maxlen=_REACH + 1)
        self._sizes: deque[float] = deque(maxlen=_REACH + 1)

    def __call__(self, face: Face) -> Face:
        """The newest face, steadied; it is as it was seen in the first two frames."""
        self._rows.append(np.array([*face.landmarks.ravel(), *face.box], dtype=np.float64))
        self._sizes.append(face.size)
        if len(self._rows) < 3:
            return face
        values, size = np.array(self._rows), median(self._sizes)
        noise = _noise(values[:, :10])
        sigma = float(np.clip(_TIMES_NOISE * noise, _LEAST_MOVE * size, _MOST_MOVE * size))
        return _replaced(face, _newest_fit(values, sigma, noise))


def _newest_fit(values: NDArray[np.float64], sigma: float, noise: float) -> NDArray[np.float64]:
    """The local linear fit at the last of ``values`` (frames, coordinates); ``sigma`` and ``noise`` in px."""
    guide = _running_median(values[:, :10])
    away = _squared_move(values[:, :10], guide) + _squared_move(guide, guide[-1:])
    ago = np.arange(1.0 - len(values), 1.0)
    weight = np.exp(-away / (2 * sigma**2) - 0.5 * (ago / _SIGMA_FRAMES) ** 2)
    weight /= weight.sum()
    mean, middle = weight @ values, float(weight @ ago)
    spread = float(weight @ np.square(ago - middle))
    if spread < 1e-6:
        return mean
    slope = (weight * (ago - middle)) @ values / spread
    by_noise = noise**2 * float(np.square(weight * (ago - middle)).sum()) / spread**2
    speed = float(np.square(slope[:10]).mean())
    trusted: NDArray[np.float64] = slope * max(0.0, 1 - _SURE * by_noise / max(speed, 1e-12))
    return mean - trusted * middle


def _replaced(face: Face, row: NDArray[np.float64]) -> Face:
    x, y, width, height = (float(v) for v in row[10:])
    box = (x, y, max(width, 1e-3), max(height, 1e-3))
    return replace(face, box_xywh=box, landmarks=row[:10].reshape(5, 2).astype(np.float32))


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
    return 1.4826 * median(bends) / float(np.sqrt(6))


def _squared_move(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean squared distance of the landmarks (px²)."""
    moved: NDArray[np.float64] = np.square(a - b).sum(axis=1) / 5
    return moved


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of five frames, of three and one at the ends."""
    middle = values.copy()
    for reach in (1, 2):
        if len(values) > 2 * reach:
            windows = np.lib.stride_tricks.sliding_window_view(values, 2 * reach + 1, axis=0)
            middle[reach:-reach] = np.partition(windows, reach, axis=-1)[..., reach]
    return middle
