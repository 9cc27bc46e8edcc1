"""What a face looks like in a small picture of its frame: enough to tell the people of one shot apart."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Box

__all__ = ["describe", "likeness"]

_GRID_WH = (6, 8)
# The box is widened and carried down, for hair and clothes: in the small picture a face alone is a few pixels.
_WIDER, _ABOVE, _BELOW = 0.35, 0.3, 0.8
# Mean difference (of 255, colours and luma) at which two looks are as likely of one person as of two.
_DOUBT = 22.0


def describe(small: NDArray[np.uint8], box: Box, scale_xy: tuple[float, float]) -> NDArray[np.float32]:
    """A coarse colour picture of head and shoulders, ``(8, 6, 3) float32`` Lab.

    Args:
        small: ``(h, w, 3) uint8 RGB``, the frame reduced.
        box: of the face, in frame pixels.
        scale_xy: size of ``small`` over the frame's.
    """
    x, y, width, height = box
    left, right = (x - _WIDER * width) * scale_xy[0], (x + (1 + _WIDER) * width) * scale_xy[0]
    top, bottom = (y - _ABOVE * height) * scale_xy[1], (y + (1 + _BELOW) * height) * scale_xy[1]
    across, down = max(right - left, 1e-3) / _GRID_WH[0], max(bottom - top, 1e-3) / _GRID_WH[1]
    # Low-passed to the grid by taking the mean of 4 x 4 samples in each cell.
    fine = cv2.warpAffine(
        small,
        np.array([[across / 4, 0, left + across / 8 - 0.5], [0, down / 4, top + down / 8 - 0.5]]),
        (_GRID_WH[0] * 4, _GRID_WH[1] * 4),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    grid = cv2.resize(fine, _GRID_WH, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    lab: NDArray[np.float32] = cv2.cvtColor(grid, cv2.COLOR_RGB2Lab)
    return lab * np.array([2.55, 1, 1], np.float32)


def likeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """How alike two looks are, 0 to 1; the overall light may differ."""
    difference = a - b
    difference[..., 0] -= 0.7 * difference[..., 0].mean()
    colour = np.abs(difference[..., 1:]).mean() * 2
    return float(np.exp2(-((np.abs(difference[..., 0]).mean() + colour) / 2 / _DOUBT)))
