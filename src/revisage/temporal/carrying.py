"""Where a face has hardly changed it need not be restored again: what a restorer made of it is carried on.

A restorer answers a small change of its input with about the same change of its output (measured over eyes, mouth and
face of talking people: correlation 0.95 and more). So its output for an earlier crop is brought onto this one along the
motion, and what has changed of its input in between is added, smoothed: the input's noise is not.

That holds while the change is small. It is looked at where it matters and in parts of the face's own contrast: a lid
that closes is a change of a few pixels, and of a few steps of 1/255 in a dark picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Crop
from revisage.temporal.flow import Flow, warp, warp_sharply
from revisage.temporal.recursion import GRID, Motion, inner, reduced

__all__ = ["LastRestored", "carried"]

_AREA = 1.5
"""Sigma (px of the grid) that a difference is smoothed with: of noise little is left, of a lid or a lip all."""

_EYES, _MOUTH, _FACE = 0.08, 0.12, 0.12
"""Changes from which a face is restored again, in parts of the face's standard deviation: the largest in the eyes and
around the mouth, and one that a hundredth of the face exceeds."""

_NOISE = 1.5
"""Sigma (px of the crop) that what is added is smoothed with."""

_EYE_AXES, _MOUTH_AXES, _FACE_AXES = (0.36, 0.24), (0.75, 0.50), (1.05, 1.30)
"""Half axes of ellipses around them (across, down), in parts of the way from the eyes to the mouth."""


class LastRestored:
    """A crop that was restored, followed from frame to frame.

    Attributes:
        carried: frames in a row that went without the restorer since.

    Args:
        crop: ``(size, size, 3) uint8 RGB``, as the restorer was shown it.
    """

    def __init__(self, crop: Crop) -> None:
        self._grey = reduced(crop).astype(np.float32)
        self._flow: Flow | None = None
        self.carried = 0

    def onto(self, crop: Crop, landmarks: NDArray[np.float32], motion: Motion) -> Flow | None:
        """The flow from the next crop to the one that was restored; None where the face has changed since.

        Args:
            crop: ``(size, size, 3) uint8 RGB``, as the restorer would be shown it.
            landmarks: ``(5, 2)`` in it (px).
            motion: from the crop before.
        """
        self._flow = motion.flow if self._flow is None else motion.flow + warp(self._flow, motion.flow)
        if self._changed(reduced(crop), (landmarks + 0.5) * (GRID / len(crop)) - 0.5, len(crop)):
            return None
        self.carried += 1
        return self._flow

    def _changed(self, now: Crop, points: NDArray[np.float32], size: int) -> bool:
        assert self._flow is not None
        flow = cv2.resize(self._flow, (GRID, GRID), interpolation=cv2.INTER_AREA) * np.float32(GRID / size)
        past = warp(self._grey, flow, interpolation=cv2.INTER_CUBIC)
        change = np.abs(cv2.GaussianBlur(now - past, (0, 0), _AREA))
        contrast = float(inner(now).std())
        eyes, mouth, face = _regions(points)
        return bool(
            change[eyes].max(initial=0) > _EYES * contrast
            or change[mouth].max(initial=0) > _MOUTH * contrast
            or np.quantile(change[face], 0.99) > _FACE * contrast
        )


def _regions(points: NDArray[np.float32]) -> tuple[NDArray[np.bool_], ...]:
    """Both eyes, the mouth and the face around five landmarks on the grid, each ``(GRID, GRID) bool``."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    unit = float(np.hypot(*(mouth - eyes)))
    return (
        _ellipse(points[0], _EYE_AXES, unit) | _ellipse(points[1], _EYE_AXES, unit),
        _ellipse(mouth, _MOUTH_AXES, unit),
        _ellipse((eyes + mouth) / 2, _FACE_AXES, unit),
    )


def _ellipse(centre: NDArray[np.float32], axes: tuple[float, float], unit: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:GRID, :GRID]
    across, down = (columns - centre[0]) / (axes[0] * unit), (rows - centre[1]) / (axes[1] * unit)
    inside: NDArray[np.bool_] = across**2 + down**2 < 1
    return inside


def carried(restored: Crop, shown: Crop, crop: Crop, flow: Flow) -> Crop:
    """What a restorer made of an earlier crop, brought onto this one, with what has changed in between.

    Args:
        restored: ``(size, size, 3) uint8 RGB``, what it made.
        shown: the same shape, what it was shown.
        crop: the same shape, what it would be shown now.
        flow: from this crop to the earlier one.
    """
    change = cv2.subtract(crop, warp(shown, flow), dtype=cv2.CV_32F)
    moved = warp_sharply(restored, flow)
    result: Crop = cv2.add(moved, cv2.GaussianBlur(change, (0, 0), _NOISE), dtype=cv2.CV_8U)
    return result
