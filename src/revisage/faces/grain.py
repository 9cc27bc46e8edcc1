"""Put the grain back that a restoration took away, so that a face does not look pasted into a grainy picture.

A restorer cleans what it shows; the frame around it keeps its noise. What goes back is the face's own: of what the
restoration changed, the fine part, where that is no stronger than the noise of the flattest cells under the face's
mask. The result lies between source and restoration, so that nothing flickers more than the source did, a codec's noise
that stood still stands still, and the same frame gets the same grain in any run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Region
from revisage.faces.compositing import ShownFace

if TYPE_CHECKING:
    from revisage.media import Frame

__all__ = ["GrainShare", "Place", "place_of", "whole_place", "with_grain"]

_Plane = NDArray[np.float32]

_COARSEST = 3.2
"""Deviation of a Gaussian (px): what it takes away is fine. Coarser spots are hardly ever grain."""

_CELL = 8
"""Side of a cell (px)."""

_FLATTEST, _FEWEST = 0.4, 8
"""Of the cells the share that is looked at, those with the least slope; and how many it takes to know anything."""

_TYPICAL = 0.35
"""Quantile of the variance over these cells: fine detail makes some of them too lively."""

DARKEST, LIGHTEST = 12.0, 243.0
"""Levels of smoothed light beyond which noise is cut off by black or white."""

_FAINT, _PLAIN = 2.0, 3.5
"""Deviation of the source's noise (1/255, luma): up to the first nothing goes back, from the second on all that is
asked for. Clean H.264 recordings have 0.4 to 0.7, those of a webcam 1.3 to 1.7, photos in JPEG of quality 20 1.5 to 2.4
of what is no grain."""

_NEAR = 3.0
"""Deviation of a Gaussian (px): the strength of a change is looked at within this reach."""

_UNEVEN = 2.0
"""How many times as strong as in the flattest cells noise is elsewhere: spots cluster, and light brings more."""

_LUMA = np.array([(0.299, 0.587, 0.114)], dtype=np.float64)
_ROUNDING = 1 / 12
"""Variance of rounding to whole levels."""


@dataclass(frozen=True)
class GrainShare:
    """How much of the grain that a face has lost goes back.

    Attributes:
        part: of it, 0 to 1.
        most: deviation of what goes back at most (1/255, luma).
    """

    part: float
    most: float = math.inf

    def of(self, deviation: float) -> float:
        """The part of grain of this deviation that goes back."""
        return min(self.part, self.most / deviation)


@dataclass(frozen=True, eq=False)
class Place:
    """Where a face is shown in a frame.

    Attributes:
        region: the part of the frame.
        mask: ``(h, w) float32``, 0 to 1, how much of it is the face.
    """

    region: Region
    mask: NDArray[np.float32]


def place_of(shown: ShownFace) -> Place:
    """The place of a face that is shown in a frame."""
    return Place(shown.region, shown.mask_in_frame())


def whole_place(size_hw: tuple[int, int]) -> Place:
    """The place of a face that is all of a picture."""
    return Place(Region(0, 0, size_hw[1], size_hw[0]), np.ones(size_hw, np.float32))


def with_grain(before: Frame, after: Frame, places: list[Place], share: GrainShare) -> Frame:
    """A frame whose restored faces have grain of their own again.

    Args:
        before: at the output's size, without restored faces; not changed.
        after: the same with them; not changed.
        places: of the faces.
        share: of the grain that each face has lost; less of faint noise, and nothing of what is hardly seen.

    Returns:
        A new frame; ``after`` itself where nothing is missing.
    """
    for place in places:
        source = before.rgb(place.region)
        noise = _noise_of(source, place.mask)
        if noise is not None:
            delta = noise.part_of(source.astype(np.float32) - after.rgb(place.region))
            if delta is not None:
                part = share.of(math.sqrt(noise.variance))
                after = after.add_rgb(place.region, part * delta * (place.mask > 0)[..., None])
    return after


@dataclass(frozen=True, eq=False)
class _Noise:
    """The noise of a face in its source.

    Attributes:
        fine: ``(h, w)``, what is fine in the luma, noise and detail.
        cells: which cells show how strong the noise is.
        variance: of the noise, in squared levels.
        presence: 0 for a source that is as good as clean, up to 1.
    """

    fine: _Plane
    cells: NDArray[np.bool_]
    variance: float
    presence: float

    def part_of(self, change: _Plane) -> _Plane | None:
        """Of a change ``(h, w, 3) float32 RGB``, source less result, what is this noise; None for nothing."""
        change = change - _smoothed(change, _COARSEST)
        luma = cv2.transform(change, _LUMA)
        lost = self.variance - _variance(self.fine - luma, self.cells)
        if lost * self.presence < _ROUNDING:
            return None
        # Where more has changed than noise can be, detail has: of that no more comes back than so much.
        strength, most = _smoothed(np.square(luma), _NEAR), np.float32(_UNEVEN * self.variance)
        weight = np.sqrt(most / np.maximum(strength, most))
        return np.asarray(change * (self.presence * weight)[..., None], np.float32)


def _noise_of(picture: NDArray[np.uint8], mask: NDArray[np.float32]) -> _Noise | None:
    """The noise of a face in a ``(h, w, 3) uint8 RGB`` picture; None where there is none, or that cannot be told."""
    luma = cv2.transform(picture.astype(np.float32), _LUMA)
    smooth = _smoothed(luma, _COARSEST)
    cells = _flat_cells(luma, smooth, mask)
    if cells is None:
        return None
    fine = luma - smooth
    variance = _variance(fine, cells)
    presence = _smooth_step((np.sqrt(variance) - _FAINT) / (_PLAIN - _FAINT))
    return _Noise(fine, cells, variance, presence) if presence > 0 else None


def _smoothed(picture: _Plane, sigma: float) -> _Plane:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), np.float32)


def _flat_cells(luma: _Plane, smooth: _Plane, mask: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Which cells show how strong the noise is; None where there are too few."""
    slopes = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    level, slope = _cell_means(luma), _cell_means(slopes)
    usable = (_cell_means(mask) > 0.9) & (level > DARKEST) & (level < LIGHTEST)
    count = int(usable.sum() * _FLATTEST)
    if count < _FEWEST:
        return None
    return np.asarray(usable & (slope <= np.partition(slope[usable], count - 1)[count - 1]))


def _cell_means(plane: _Plane) -> _Plane:
    height, width = (side // _CELL * _CELL for side in plane.shape)
    cells = plane[:height, :width].reshape(height // _CELL, _CELL, width // _CELL, _CELL)
    return np.asarray(cells.mean(axis=(1, 3)), np.float32)


def _variance(fine: _Plane, cells: NDArray[np.bool_]) -> float:
    """Of the noise in these cells, in squared levels."""
    return max(0.0, float(np.quantile(_cell_means(np.square(fine))[cells], _TYPICAL)) - _ROUNDING)


def _smooth_step(value: float) -> float:
    part = min(1.0, max(0.0, value))
    return part * part * (3 - 2 * part)
