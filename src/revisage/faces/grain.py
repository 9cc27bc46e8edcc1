"""Put the grain back that a restoration took away, so that a face does not look pasted into a grainy picture.

A restorer cleans what it shows; the frame around it keeps its noise. How strong that noise is, and how coarse, is
measured in each frame by itself: in three bands of luma and of both chromas, in the flattest cells under the face's
mask, before the face was restored and after. New noise of just the missing strength is added in each band. It follows
from the picture alone: the same frame gets the same grain in any run, and a repeated one stays still.
"""

from __future__ import annotations

import functools
import itertools
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Region
from revisage.faces.alignment import AlignedFace, invert, warp_antialiased
from revisage.faces.compositing import scaled_affine, shown_mask, shown_region

if TYPE_CHECKING:
    from revisage.media import Frame

__all__ = ["Place", "place_of", "whole_place", "with_grain"]

_Planes = NDArray[np.float32]

_SIGMAS = (0.8, 1.6, 3.2)
"""Deviations (px) of the Gaussians that part the bands. Coarser spots are hardly ever grain."""

_CELL = 8
"""Side of a cell (px)."""

_FLATTEST, _FEWEST = 0.4, 8
"""Of the cells the share that is looked at, those with the least slope; and how many it takes to know anything."""

_TYPICAL = 0.35
"""Quantile of the variance over these cells: fine detail makes some of them too lively."""

_DARKEST, _LIGHTEST = 12.0, 243.0
"""Mean levels of cells beyond which noise is cut off by black or white."""

_FAINT, _PLAIN = 1.0, 1.6
"""Deviation of the source's noise (1/255, luma, all bands): up to the first nothing is added, from the second on all
that is missing. Clean H.264 recordings have 0.4 to 0.7, those of a webcam 1.3 to 1.7."""

_NEAR = 5.0
"""Deviation of a Gaussian (px): grain is added where the source shows some within this reach."""

_TO_YCC = np.array([(0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)], dtype=np.float64)
_ROUNDING = 1 / 12
"""Variance of rounding to whole levels."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a face is shown in a frame.

    Attributes:
        region: the part of the frame.
        mask: ``(h, w) float32``, 0 to 1, how much of it is the face.
    """

    region: Region
    mask: NDArray[np.float32]


def place_of(face: AlignedFace, size_hw: tuple[int, int], factors: tuple[float, float] = (1.0, 1.0)) -> Place | None:
    """Where a face is shown in a frame of ``size_hw``, ``factors`` (x, y) as large as the one it was cut from."""
    mask = shown_mask(face)
    to_frame = invert(scaled_affine(face.affine, factors))
    region = shown_region(mask, to_frame, size_hw)
    if region is None:
        return None
    to_frame[:, 2] -= (region.left, region.top)
    shown = warp_antialiased(mask, to_frame, region.size_hw, interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT)
    return Place(region, shown)


def whole_place(size_hw: tuple[int, int]) -> Place:
    """The place of a face that is all of a picture."""
    return Place(Region(0, 0, size_hw[1], size_hw[0]), np.ones(size_hw, np.float32))


def with_grain(before: Frame, after: Frame, places: list[Place]) -> Frame:
    """A frame whose restored faces have the grain that they had.

    Args:
        before: at the output's size, without restored faces; not changed.
        after: the same with them; not changed.
        places: of the faces.

    Returns:
        A new frame; ``after`` itself where nothing is missing.
    """
    for place in places:
        delta = _missing_grain(before.rgb(place.region), after.rgb(place.region), place.mask)
        if delta is not None:
            after = after.add_rgb(place.region, delta)
    return after


def _missing_grain(
    before: NDArray[np.uint8], after: NDArray[np.uint8], mask: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """What to add, ``(h, w, 3) float32 RGB``, to the second picture of a face; None for nothing."""
    source, result = _bands(before), _bands(after)
    cells = _flat_cells(before, after, mask)
    if cells is None:
        return None
    had, has = _variances(source, cells), _variances(result, cells)
    share = _smooth_step((float(np.sqrt(had[0].sum())) - _FAINT) / (_PLAIN - _FAINT))
    missing = np.maximum(had - has, 0) * share
    if missing[0].sum() < _ROUNDING:
        return None
    random = np.random.Generator(np.random.Philox(zlib.crc32(before.tobytes())))
    grain = [_grain(mask.shape, variances, random) for variances in missing]
    # Of what the frame had the part 1 - mask is still there: variances add up, not deviations.
    weight = np.sqrt(mask * (2 - mask)) * _presence(source[0], had[0])
    return np.asarray(cv2.transform(cv2.merge(grain), np.linalg.inv(_TO_YCC)) * weight[..., None], np.float32)


def _bands(picture: NDArray[np.uint8]) -> list[list[_Planes]]:
    """Luma and two chromas of a ``(h, w, 3) uint8 RGB`` picture, each parted into bands, the finest first."""
    channels = cv2.split(cv2.transform(picture.astype(np.float32), _TO_YCC))
    return [_parted(channel) for channel in channels]


def _parted(channel: _Planes) -> list[_Planes]:
    smooth = [channel, *(_smoothed(channel, sigma) for sigma in _SIGMAS)]
    return [finer - coarser for finer, coarser in itertools.pairwise(smooth)]


def _smoothed(channel: _Planes, sigma: float) -> _Planes:
    return np.asarray(cv2.GaussianBlur(channel, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), np.float32)


def _flat_cells(
    before: NDArray[np.uint8], after: NDArray[np.uint8], mask: NDArray[np.float32]
) -> NDArray[np.bool_] | None:
    """Which cells show how strong the noise is; None where there are too few."""
    luma = cv2.transform(before.astype(np.float32), _TO_YCC[:1])
    slopes = [_slope(luma), _slope(cv2.transform(after.astype(np.float32), _TO_YCC[:1]))]
    level, slope = _cell_means(luma), _cell_means(np.maximum(*slopes))
    usable = (_cell_means(mask) > 0.9) & (level > _DARKEST) & (level < _LIGHTEST)
    count = int(usable.sum() * _FLATTEST)
    if count < _FEWEST:
        return None
    return np.asarray(usable & (slope <= np.partition(slope[usable], count - 1)[count - 1]))


def _slope(luma: _Planes) -> _Planes:
    """Steepness of what is too coarse to be grain."""
    smooth = _smoothed(luma, _SIGMAS[-1])
    return cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))


def _cell_means(plane: _Planes) -> _Planes:
    height, width = (side // _CELL * _CELL for side in plane.shape)
    cells = plane[:height, :width].reshape(height // _CELL, _CELL, width // _CELL, _CELL)
    return np.asarray(cells.mean(axis=(1, 3)), np.float32)


def _variances(bands: list[list[_Planes]], cells: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``(3, 3)``: the noise's variance of each channel in each band, in squared levels."""
    found = [[np.quantile(_cell_means(np.square(band))[cells], _TYPICAL) for band in parts] for parts in bands]
    return np.maximum(np.array(found) - _ROUNDING * _band_energies(), 0)


def _presence(luma: list[_Planes], had: NDArray[np.float64]) -> _Planes:
    """Where the source has grain: 0 to 1, of its usual deviation."""
    energy = _smoothed(np.square(luma[0]) + np.square(luma[1]), _NEAR)
    return np.sqrt(np.minimum(energy / np.float32(max(had[0] + had[1], 1e-6)), 1))


def _grain(shape: tuple[int, ...], variances: NDArray[np.float64], random: np.random.Generator) -> _Planes:
    """Noise ``(h, w) float32`` with these variances in its bands."""
    total = np.zeros(shape, np.float32)
    for number, power in enumerate(_powers(variances)):
        white = random.standard_normal(shape, dtype=np.float32)
        if power > 1e-3:
            total += np.float32(np.sqrt(power)) * _parted(white)[number]
    return total


def _powers(variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """How strong noise of each band has to be for these variances: bands overlap, and powers are not negative.

    The multiplicative iteration of Richardson and Lucy keeps them so.
    """
    spill = _spill()
    variances = variances + 1e-6
    powers = variances / np.diag(spill)
    for _ in range(20):
        powers *= spill.T @ (variances / (spill @ powers)) / spill.sum(axis=0)
    return np.asarray(powers, np.float64)


@functools.cache
def _responses() -> NDArray[np.float64]:
    """``(3, n, n)``: of each band, how strongly it lets each frequency through."""
    spot = np.zeros((96, 96), np.float32)
    spot[48, 48] = 1
    return np.abs(np.fft.fft2(np.stack(_parted(spot))))


def _band_energies() -> NDArray[np.float64]:
    """``(3,)``: the variance that white noise of deviation 1 has in each band."""
    return np.asarray(np.square(_responses()).mean(axis=(1, 2)))


@functools.cache
def _spill() -> NDArray[np.float64]:
    """``(3, 3)``: the variance in each band (row) of white noise that went through each other (column)."""
    power = np.square(_responses())
    return np.asarray((power[:, None] * power[None]).mean(axis=(2, 3)))


def _smooth_step(value: float) -> float:
    part = min(1.0, max(0.0, value))
    return part * part * (3 - 2 * part)
