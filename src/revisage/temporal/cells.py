"""What is known of the cells of a crop, followed along its motion: maps much coarser than pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.temporal.flow import warp
from revisage.temporal.recursion import Motion

__all__ = ["mixed_cells", "moved_cells"]

Cells = NDArray[np.float32]


def moved_cells(cells: Cells, motion: Motion) -> Cells:
    """Cells of a crop, ``(n, n) float32``, brought onto the crop that a motion leads to."""
    side = len(cells)
    flow = cv2.resize(motion.flow, (side, side), interpolation=cv2.INTER_AREA) * np.float32(side / len(motion.flow))
    return np.asarray(warp(cells, flow), np.float32)


def mixed_cells(past: Cells, now: Cells, motion: Motion, share: float) -> Cells:
    """Cells as they are now, ``(n, n) float32``, with a share of what was known of them, as far as motion is trusted.

    Args:
        past: brought onto this crop.
        now: of the same shape.
        motion: that brought them.
        share: of the past, 0 to 1.
    """
    trust = cv2.resize(motion.trust, now.shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(now + np.float32(share) * trust * (past - now), np.float32)
