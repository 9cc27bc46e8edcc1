"""What is before a face is left as it is: from probabilities of cells to how much of each is left alone."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.faces.alignment import AlignedFace
from revisage.faces.compositing import hidden_share

__all__ = ["DOUBTFUL_COVER", "with_cover"]

DOUBTFUL_COVER, _SURE = 0.35, 0.65
"""Probabilities at which nothing and all of a cell is left as it is."""

_EDGE = 0.9
"""Sigma (cells) of the edge of what is left, once that is widened by a cell: a hand's edge is left with it."""

_SOFTLY = 0.2
"""Faces fade out over this share below the one at which nothing of them is restored."""


def with_cover(face: AlignedFace, cells: NDArray[np.float32] | None, most: float) -> tuple[AlignedFace, float]:
    """A face with what is before it, and how much of its strength that leaves, 0 to 1.

    Args:
        face: aligned.
        cells: ``(n, n) float32``, probabilities that something is before it; None where nobody has looked.
        most: part of a face, 0 to 1, from which nothing is left.
    """
    covered = None if cells is None else _left_alone(cells)
    if covered is None:
        return face, 1.0
    face = replace(face, covered=covered)
    return face, min(1.0, max(0.0, (most - hidden_share(face)) / _SOFTLY))


def _left_alone(cells: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """How much of each cell is left as it is, from probabilities; None where that is nothing anywhere."""
    part = np.clip((cells - DOUBTFUL_COVER) / (_SURE - DOUBTFUL_COVER), 0, 1)
    if not part.any():
        return None
    wide = cv2.dilate(part, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    return np.asarray(np.clip(cv2.GaussianBlur(wide, (0, 0), _EDGE), 0, 1), np.float32)
