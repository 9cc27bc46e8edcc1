"""Find the cuts of a video while it is read, from small pictures of its frames."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Image

__all__ = ["ShotDetector", "ShotLook", "begins_shot", "shot_look"]

_SIZE_WH = (48, 32)
"""Px of the pictures in which frames are compared."""

_CUT = 0.12
"""A score is edge change (0 to 2) times the sum of hue-saturation, luma histogram and luma change (each 0 to 1). Hard
cuts of real footage measure 0.4 and more, a swept camera or a person close by at most 0.05."""
_TIMES_RECENT, _RECENT = 3.0, 5
"""In restless footage a cut must stand out from the frames before it."""
_CELLS, _TEXTURED, _SAME_CELL, _STAYED = 8, 200.0, 0.7, 0.2
"""A cut leaves nothing where it was, an object that comes before the camera at once leaves what is beside it: of so
many cells a side, those with so much of squared gradients, and in how many of these they correlate by that much. Hard
cuts of real footage measure up to 0.05, a picture half covered 0.23 to 0.41."""
_BLANK = 5.0
"""Luma's standard deviation (of 255) below which a frame shows nothing: black, white, the middle of a fade."""
_OTHER_EDGES = 0.5
"""Edge change above which two pictures with blank frames between them are of different shots."""


@dataclass(frozen=True)
class ShotLook:
    """What frames are compared by: two histograms, luma and its gradients, their energy, and luma's deviation.

    It is made by :func:`shot_look`, which is most of the work of telling shots apart.
    """

    colours: NDArray[np.float32]
    levels: NDArray[np.float32]
    luma: NDArray[np.float32]
    edges: NDArray[np.float32]
    energy: float
    spread: float


class ShotDetector:
    """Call it with the frames of a video in order; it says where a new shot begins.

    A frame begins a shot when its edges and its colours both differ from the frame before. Edges are correlated with
    the contrast divided out, so that a flash or a change of exposure is no cut; colours alone tell a moving camera
    from another one. Where a part of the picture stays as it is, something came before the camera. Blank frames wait:
    behind a flash to white or a fade through black, the next picture is compared with the last. A slow dissolve is not
    found.
    """

    def __init__(self) -> None:
        self._last: ShotLook | None = None
        self._blank_between = False
        self._recent: deque[float] = deque(maxlen=_RECENT)

    @property
    def last_is_blank(self) -> bool:
        """Whether the frame that came last shows nothing: black, white, the middle of a fade."""
        return self._blank_between

    def __call__(self, image: Image | ShotLook) -> bool:
        """Whether this frame is the first of a new shot; False for the first frame of all.

        Args:
            image: ``(H, W, 3) uint8 RGB``, of any size, some 100 px wide is plenty; or its :func:`shot_look`.
        """
        look = image if isinstance(image, ShotLook) else shot_look(image)
        if look.spread < _BLANK:
            self._blank_between = True
            return False
        last, between = self._last, self._blank_between
        self._last, self._blank_between = look, False
        if last is None:
            return False
        edges = _edge_change(last, look)
        if between:
            self._recent.clear()
            return edges > _OTHER_EDGES
        score = edges * _colour_change(last, look)
        usual = float(np.mean(self._recent)) if self._recent else 0.0
        if score > max(_CUT, _TIMES_RECENT * usual):
            if _stayed(last, look) >= _STAYED:
                return False
            self._recent.clear()
            return True
        self._recent.append(score)
        return False


def begins_shot(before: Image, after: Image, *, blank_between: bool) -> bool:
    """Whether a frame begins a shot, where no more is known than the one before it.

    Args:
        before, after: ``(H, W, 3) uint8 RGB``, as for :class:`ShotDetector`; neither is blank.
        blank_between: whether blank frames lie between them.
    """
    detector = ShotDetector()
    detector(before)
    if blank_between:
        detector(np.zeros_like(after))
    return detector(after)


def shot_look(image: Image) -> ShotLook:
    """What a frame, ``(H, W, 3) uint8 RGB`` of any size, is compared with others by."""
    small = cv2.resize(image, _SIZE_WH, interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    count = np.float32(luma.size)
    colours = cv2.calcHist([hsv], [0, 1], None, [12, 6], [0, 180, 0, 256]).ravel() / count
    levels = cv2.calcHist([luma], [0], None, [24], [0, 256]) / count
    # Blurred, a small change of exposure moves little between neighbouring bins.
    levels = cv2.GaussianBlur(levels, (1, 5), 0).ravel()
    values = luma.astype(np.float32)
    edges = np.empty((2, *values.shape), np.float32)
    cv2.Sobel(values, cv2.CV_32F, 1, 0, dst=edges[0])
    cv2.Sobel(values, cv2.CV_32F, 0, 1, dst=edges[1])
    spread = float(cv2.meanStdDev(luma)[1].item())
    return ShotLook(colours, levels, values, edges, float(np.vdot(edges, edges)), spread)


def _edge_change(a: ShotLook, b: ShotLook) -> float:
    """1 less the correlation of the gradients: 0 the same edges, 1 none in common."""
    return 1 - float(np.vdot(a.edges, b.edges)) / max(math.sqrt(a.energy * b.energy), 1e-6)


def _stayed(a: ShotLook, b: ShotLook) -> float:
    """The share of the cells with something in them, before or after, that show the same edges: 0 to 1."""
    energies = [_in_cells(np.square(look.edges)) for look in (a, b)]
    alike = _in_cells(a.edges * b.edges) > _SAME_CELL * np.maximum(*energies)
    textured = np.maximum(*energies) > _TEXTURED
    return float((alike & textured).sum() / max(int(textured.sum()), 1))


def _in_cells(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(values.sum(axis=0), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA), np.float32)


def _colour_change(a: ShotLook, b: ShotLook) -> float:
    """Distances of the hue-saturation histograms (Bhattacharyya), of the luma histograms, and of luma in place."""
    colours = 1 - float(np.sqrt(a.colours * b.colours).sum())
    levels = 0.5 * float(np.abs(a.levels - b.levels).sum())
    return colours + levels + cv2.norm(a.luma, b.luma, cv2.NORM_L1) / a.luma.size / 255
