"""The band beyond the crop: what a fine restorer changes in a large face at the frame's own pixels.

A crop of 256 px shows a face of 140 px pixel by pixel. Of a larger face it shows a reduction, and what is finer stays
in the frame: pores and lashes, but noise, blocks and blur too. Here they go first; the crop is then cut from
what is left, so that a restorer sees it, and its own change is added to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Region
from revisage.faces.alignment import AlignedFace, FineChange, crop_scale, invert, transform, warp_antialiased
from revisage.faces.compositing import landmark_mask, shown_region

if TYPE_CHECKING:
    from revisage.media import Frame

__all__ = ["FineNet", "fine_share", "with_fine"]

FineNet = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""The change, ``(h, w, 3) float32`` in 1/255, of a ``(h, w, 3) uint8 RGB`` picture."""

# Frame pixels in one of the crop: up to the first nothing is finer than the crop, from the second on the change is
# shown in full. Between, it grows smoothly, so that nothing switches while a face comes nearer.
_BEGINS, _WHOLE = 1.0, 1.5
# The net looks at some 90 px around a pixel; beyond this many it finds next to nothing that it did not know.
_CONTEXT = 32
# Low frequencies of a change: the side of a cell (px) and the deviation of a Gaussian in cells, 24 px together. Steps
# between the blocks of codecs, 8 and 16 px wide, are finer than that.
_TINT_CELL, _TINT_SIGMA = 8, 3.0
# Ratios of bands (see there) of faces twice as large as their crops: 0.71 to 0.77 where a third of the detail is left,
# and a restorer of the crop still brings 0.4 dB; 0.83 and more where half of it is, and it costs 0.2 to 2 dB. Shown to
# a quarter it costs 0.1 dB on JPEG and H.264, and wins 0.2 on blurred faces.
_SOFT, _SHARP = 0.75, 0.90
_LEAST_REST = 0.25
# From the brows to the chin, rows and columns as parts of the crop's side.
_INNER_FACE = ((0.39, 0.86), (0.27, 0.73))


def fine_share(face: AlignedFace) -> float:
    """How much of a fine change is shown of a face: 0 where its crop shows every pixel, 1 where it shows 2 of 3."""
    return _smooth_step((1 / crop_scale(face.affine) - _BEGINS) / (_WHOLE - _BEGINS))


def with_fine(frame: Frame, face: AlignedFace, net: FineNet, share: float, *, sparing: bool = False) -> AlignedFace:
    """A face with the fine change of its part of the frame.

    Args:
        frame: that the face was aligned in; not changed.
        face: the face.
        net: says what to change.
        share: 0 to 1, how much of that is changed.
        sparing: where the crop is sharp then, little of what a restorer makes of it is shown.

    Returns:
        The face with its ``fine`` set; the face itself where the share is 0 or nothing of it lies in the frame.
    """
    mask = landmark_mask(face.landmarks, face.size)
    shown = shown_region(mask, invert(face.affine), frame.size_hw) if share > 0 else None
    if shown is None:
        return face
    region = _with_context(shown, frame.size_hw)
    delta = _without_tint(net(frame.rgb(region))) * np.float32(share)
    crop = _changed_crop(face, region, delta)
    rest = 1 - share * (1 - _LEAST_REST) * _sharpness(crop) if sparing else 1.0
    return replace(face, fine=FineChange(region, delta, crop, rest))


def _sharpness(crop: NDArray[np.uint8]) -> float:
    """Whether the face in a crop is as fine as its pixels: 0 soft, 1 sharp, smooth between.

    The deviation of the band above a Gaussian of 1 px over that of the octave below it. Faces differ by a tenth in it,
    whatever their skin and hair.
    """
    rows, columns = (slice(int(low * len(crop)), int(high * len(crop))) for low, high in _INNER_FACE)
    grey = cv2.cvtColor(np.ascontiguousarray(crop[rows, columns]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    soft, softer = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1.0, 2.0))
    ratio = float((grey - soft).std()) / max(float((soft - softer).std()), 1e-3)
    return _smooth_step((ratio - _SOFT) / (_SHARP - _SOFT))


def _smooth_step(value: float) -> float:
    part = float(np.clip(value, 0, 1))
    return part * part * (3 - 2 * part)


def _with_context(region: Region, size_hw: tuple[int, int]) -> Region:
    return Region(
        max(0, region.left - _CONTEXT),
        max(0, region.top - _CONTEXT),
        min(size_hw[1], region.right + _CONTEXT),
        min(size_hw[0], region.bottom + _CONTEXT),
    )


def _without_tint(delta: NDArray[np.float32]) -> NDArray[np.float32]:
    """A change without its low frequencies: it takes detail away and adds some, it does not colour a face."""
    height, width = delta.shape[:2]
    cells = (max(1, width // _TINT_CELL), max(1, height // _TINT_CELL))
    coarse = cv2.GaussianBlur(cv2.resize(delta, cells, interpolation=cv2.INTER_AREA), (0, 0), _TINT_SIGMA)
    tint = cv2.resize(coarse.reshape(*cells[::-1], 3), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(delta - tint, dtype=np.float32)


def _changed_crop(face: AlignedFace, region: Region, delta: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The crop as cut from the changed frame: cutting is linear, so the change is cut alike and added."""
    to_crop = face.affine.copy()
    to_crop[:, 2] = transform(face.affine, [(region.left, region.top)])[0]
    side = (face.size, face.size)
    change = warp_antialiased(delta, to_crop, side, interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT)
    return np.clip(np.rint(face.crop + change), 0, 255).astype(np.uint8)
