"""What is before a face, without what a reader only suspects.

The cells that it calls covered see most of what is there, and take a bright brow or a lit cheek for something now and
then. Such patches are small (67 cells at most in asl_thanks, where they come and go); captions, hands and microphones
before the faces of clips have 100 to 500. So a patch counts where it is large and sure, or reaches a landmark that is
said to be hidden.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.readers.readings import COVER_CELLS, FaceReadings

__all__ = ["believed_cover"]

_PATCH = 0.35
"""Probability from which neighbouring cells are of one patch."""

_LARGE, _SURE = 80, 0.8
"""Cells of a patch, and their largest probability, from which it counts by itself."""

_HIDDEN = 0.5
"""Visibility below which a landmark is hidden."""

_REACH = 2
"""Cells that a patch may miss a hidden landmark by."""


def believed_cover(readings: FaceReadings, size: int) -> NDArray[np.float32] | None:
    """``(N, COVER_CELLS, COVER_CELLS) float32``: the cover, 0 in patches that do not count.

    Args:
        readings: of aligned crops.
        size: side of these crops (px).

    Returns:
        None where the reader tells no cover.
    """
    if readings.cover is None:
        return None
    points = (readings.landmarks + 0.5) * (COVER_CELLS / size) - 0.5
    hidden = readings.visibility < _HIDDEN
    return np.stack([_believed(*each) for each in zip(readings.cover, points, hidden, strict=True)])


def _believed(
    cover: NDArray[np.float32], points: NDArray[np.float32], hidden: NDArray[np.bool_]
) -> NDArray[np.float32]:
    count, patches, about, _ = cv2.connectedComponentsWithStats((cover >= _PATCH).astype(np.uint8), connectivity=8)
    near = np.zeros(cover.shape, np.uint8)
    columns, rows = np.clip(np.rint(points[hidden]), 0, COVER_CELLS - 1).astype(int).T
    near[rows, columns] = 1
    near = cv2.dilate(near, np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8))
    counts = np.zeros(count, bool)
    for patch in range(1, count):
        inside = patches == patch
        is_large = about[patch, cv2.CC_STAT_AREA] >= _LARGE and cover[inside].max() >= _SURE
        counts[patch] = is_large or near[inside].any()
    return np.where(counts[patches], cover, np.float32(0))
