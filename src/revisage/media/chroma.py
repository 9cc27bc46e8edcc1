"""Between chroma planes and luma positions: bilinear up, area-weighted down, exact about where chroma lies."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Region

__all__ = ["chroma_region", "reduce_chroma", "upsample_chroma"]


def chroma_region(region: Region, shift_hw: tuple[int, int], plane_hw: tuple[int, int]) -> Region:
    """The chroma samples whose cells a region of luma samples overlaps."""
    return Region(
        region.left >> shift_hw[1],
        region.top >> shift_hw[0],
        min(-(-region.right >> shift_hw[1]), plane_hw[1]),
        min(-(-region.bottom >> shift_hw[0]), plane_hw[0]),
    )


def upsample_chroma(
    plane: NDArray[Any], region: Region, shift_hw: tuple[int, int], offset_xy: tuple[float, float]
) -> NDArray[Any]:
    """The chroma at each luma position of a region, interpolated linearly; edges are repeated."""
    if shift_hw == (0, 0):
        return plane[region.slices]
    step_y, step_x = 0.5 ** shift_hw[0], 0.5 ** shift_hw[1]
    x, first_x, last_x = _span(region.left, region.right, step_x, offset_xy[0], plane.shape[1])
    y, first_y, last_y = _span(region.top, region.bottom, step_y, offset_xy[1], plane.shape[0])
    slab = plane[first_y:last_y, first_x:last_x]
    height, width = region.size_hw
    if max(shift_hw) == 1 and {*offset_xy} <= {0.0, 0.5}:
        return _doubled(slab, (y - first_y, x - first_x), region.size_hw, shift_hw, offset_xy[::-1])
    affine = np.array([[step_x, 0, x - first_x], [0, step_y, y - first_y]])
    return cv2.warpAffine(
        slab,
        affine,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _doubled(
    slab: NDArray[Any],
    begin_yx: tuple[float, float],
    size_hw: tuple[int, int],
    shift_hw: tuple[int, int],
    offset_yx: tuple[float, float],
) -> NDArray[Any]:
    """What the warp of :func:`upsample_chroma` gives, twice as fast: each sample repeated, then neighbours averaged."""
    height, width = (side << shift for side, shift in zip(slab.shape, shift_hw, strict=True))
    repeated = cv2.resize(slab, (width, height), interpolation=cv2.INTER_NEAREST)
    kernels, anchor, first = [], [], []
    for begin, shift, offset in zip(begin_yx, shift_hw, offset_yx, strict=True):
        # Between samples a quarter is the neighbour's; halfway after a sample, a half of the next.
        kernels.append([1.0] if not shift else [0.25, 0.5, 0.25] if offset else [0.5, 0.5])
        anchor.append(int(bool(shift and offset)))
        first.append(round(begin * 2**shift + (0.5 if shift and offset else 0)))
    kernel = np.outer(kernels[0], kernels[1]).astype(np.float32)
    mean = cv2.filter2D(repeated, -1, kernel, anchor=tuple(anchor[::-1]), borderType=cv2.BORDER_REPLICATE)
    return mean[first[0] : first[0] + size_hw[0], first[1] : first[1] + size_hw[1]]


def _span(start: int, stop: int, step: float, offset: float, length: int) -> tuple[float, int, int]:
    """Chroma coordinate of the first luma sample, and the first and last sample that interpolation reads."""
    offset = 0.0 if step == 1 else offset
    begin = (start - offset) * step
    end = (stop - 1 - offset) * step
    return begin, min(max(math.floor(begin), 0), length - 1), min(math.floor(end) + 2, length)


def reduce_chroma(
    values: NDArray[np.float32],
    origin: tuple[int, int],
    shift_hw: tuple[int, int],
    offset_xy: tuple[float, float],
    *,
    zero_outside: bool = False,
) -> NDArray[np.float32]:
    """Values at luma positions averaged onto the chroma samples of :func:`chroma_region`.

    Args:
        values: ``(h, w)`` float32.
        origin: (top, left) of the values in the picture.
        shift_hw: log2 of the reduction.
        offset_xy: where chroma lies; of 4:2:0, beside a column it weighs that twice and its neighbours once.
        zero_outside: beyond the values lie zeros; otherwise the nearest value repeats.
    """
    rows = _reduce_rows(values, origin[0], shift_hw[0], offset_xy[1], zero_outside)
    if shift_hw[1] == 0:
        return rows
    columns = _reduce_rows(cv2.transpose(rows), origin[1], shift_hw[1], offset_xy[0], zero_outside)
    return cv2.transpose(columns)


def _reduce_rows(
    values: NDArray[np.float32], origin: int, shift: int, offset: float, zero_outside: bool
) -> NDArray[np.float32]:
    if shift == 0:
        return values
    factor = 1 << shift
    before, after = origin % factor, -(origin + len(values)) % factor
    border = cv2.BORDER_CONSTANT if zero_outside else cv2.BORDER_REPLICATE
    padded = cv2.copyMakeBorder(values, before, after, 0, 0, border) if before or after else values
    cells = padded.reshape(len(padded) // factor, factor, -1)
    if offset:
        return cells.mean(axis=1)
    # Chroma lies on the first row of its cell: half of what it averages belongs to the cell before.
    half = factor // 2
    own = cells[:, :half].sum(axis=1) + 0.5 * cells[:, half]
    after_middle = 0.5 * cells[:, half] + cells[:, half + 1 :].sum(axis=1)
    outside = np.zeros_like(own[:1]) if zero_outside else (half - 0.5) * cells[:1, 0]
    return (own + np.concatenate([outside, after_middle[:-1]])) / factor
