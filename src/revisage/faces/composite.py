"""Put restored faces back into a frame by adding what the restoration changed.

In crop space the change is ``mask * strength * (colour-matched restored - crop)``. It is warped by the inverse of the
crop's affine into its place in the frame and added to the native planes. So a crop that was not restored, or a
strength of 0, changes no sample at any size of the output, and the pixels under the face are interpolated once only.

Detail of the frame that is finer than the crop can show stays as it was, grain included: only what the restorer saw
is replaced. Where a face is much larger than the crop, noise finer than the crop's pixels therefore remains on the
restored face. To take it away would also take the pores, lashes and hair that a sharp large face has, and the crop
alone cannot tell the two apart; a restorer with a larger crop can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Region
from revisage.faces.alignment import Affine, AlignedFace, invert, transform, warp_antialiased
from revisage.faces.blend import landmark_mask, matched_difference

if TYPE_CHECKING:
    from revisage.media import Frame

__all__ = ["Restored", "composite", "scaled_affine"]

Restored = tuple[AlignedFace, NDArray[np.uint8], float]
"""A face, its restored crop ``(size, size, 3) uint8 RGB`` and the strength 0 to 1 to show it at."""


@dataclass(frozen=True, eq=False)
class _Change:
    """What one face changes in the frame.

    Attributes:
        region: where.
        delta: ``(h, w, 3) float32 RGB`` in 1/255.
        mask: ``(size, size) float32`` in the crop, which ``delta`` is weighted with already.
        to_region: crop pixels to pixels of the region.
    """

    region: Region
    delta: NDArray[np.float32]
    mask: NDArray[np.float32]
    to_region: Affine

    def shown_mask(self) -> NDArray[np.float32]:
        """The mask in the region, ``(h, w) float32``."""
        return _warp(self.mask, self.to_region, self.region.size_hw, cv2.INTER_LINEAR)


def composite(frame: Frame, restored: Sequence[Restored], upscale: float | tuple[float, float] = 1.0) -> Frame:
    """Show restored faces in a frame.

    Args:
        frame: the frame to change, already at the output's size; it is not mutated.
        restored: the faces, aligned in the frame before it was resized. Their order does not matter.
        upscale: size of ``frame`` over the size the faces were aligned in, as one factor or as two (x, y) where
            rounding to whole pixels made them differ. Pixel centres map as ``(x + 0.5) * upscale - 0.5``.

    Returns:
        A new frame; ``frame`` itself when nothing changes.

    Raises:
        ValueError: a strength outside 0 to 1, or a restored crop of another shape than its face's.
    """
    factors = upscale if isinstance(upscale, tuple) else (upscale, upscale)
    changes = [_change(frame.size_hw, *item, factors) for item in restored]
    return frame.add_all_rgb(_merged([change for change in changes if change is not None]))


def scaled_affine(affine: Affine, factors: tuple[float, float]) -> Affine:
    """The affine from a frame resized by (x, y) ``factors`` to the crop, given that from the original frame."""
    scale = np.array(factors, dtype=np.float64)
    return np.column_stack((affine[:, :2] / scale, transform(affine, [0.5 / scale - 0.5])[0]))


def _change(
    size_hw: tuple[int, int],
    face: AlignedFace,
    restored: NDArray[np.uint8],
    strength: float,
    factors: tuple[float, float],
) -> _Change | None:
    """What one face changes in a frame of ``size_hw``; None when that is nothing."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie between 0 and 1, got {strength}")
    if restored.shape != face.crop.shape or restored.dtype != np.uint8:
        raise ValueError(f"a restored crop is {face.crop.shape} uint8, got {restored.shape} {restored.dtype}")
    if strength == 0 or np.array_equal(restored, face.crop):
        return None
    mask = landmark_mask(face.landmarks, face.size) if face.mask is None else face.mask
    to_frame = invert(scaled_affine(face.affine, factors))
    region = _support(mask, to_frame, size_hw)
    if region is None:
        return None
    difference = matched_difference(face.crop, restored, mask, face.steady)
    weighted = cv2.multiply(difference, cv2.merge((mask, mask, mask)), scale=strength, dst=difference)
    to_frame[:, 2] -= (region.left, region.top)
    return _Change(region, _warp(weighted, to_frame, region.size_hw, cv2.INTER_CUBIC), mask, to_frame)


def _warp(
    image: NDArray[np.float32], affine: Affine, size_hw: tuple[int, int], interpolation: int
) -> NDArray[np.float32]:
    return warp_antialiased(image, affine, size_hw, interpolation=interpolation, border=cv2.BORDER_CONSTANT)


def _support(mask: NDArray[np.float32], to_frame: Affine, size_hw: tuple[int, int]) -> Region | None:
    """The part of a frame that a mask above 0 reaches, or None."""
    inside = mask > 0
    rows = np.flatnonzero(inside.any(axis=1))
    if not len(rows):
        return None
    left, right = inside[rows].argmax(axis=1), mask.shape[1] - 1 - inside[rows, ::-1].argmax(axis=1)
    # Interpolation reaches two crop pixels further, or two frame pixels where those are larger.
    outline = [np.stack((x, y), axis=1) for x in (left - 2, right + 2) for y in (rows - 2, rows + 2)]
    corners = transform(to_frame, np.concatenate(outline))
    low = np.maximum(np.floor(corners.min(axis=0)) - 2, 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0)) + 3, size_hw[::-1]).astype(int)
    if (low >= high).any():
        return None
    return Region(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _merged(changes: list[_Change]) -> list[tuple[Region, NDArray[np.float32]]]:
    """Changes that do not overlap, so that each pixel of the frame is rounded once.

    Where masks overlap, the changes share the pixel: their sum is divided by the masks' sum once that is above 1.
    """
    merged = []
    for group in _overlapping(changes):
        if len(group) == 1:
            merged.append((group[0].region, group[0].delta))
            continue
        regions = [change.region for change in group]
        region = Region(
            min(r.left for r in regions),
            min(r.top for r in regions),
            max(r.right for r in regions),
            max(r.bottom for r in regions),
        )
        total = np.zeros((*region.size_hw, 3), np.float32)
        masks = np.zeros(region.size_hw, np.float32)
        for change in group:
            rows, columns = change.region.slices
            inside = (
                slice(rows.start - region.top, rows.stop - region.top),
                slice(columns.start - region.left, columns.stop - region.left),
            )
            total[inside] += change.delta
            masks[inside] += change.shown_mask()
        total /= np.maximum(masks, 1)[..., None]
        merged.append((region, total))
    return merged


def _overlapping(changes: list[_Change]) -> list[list[_Change]]:
    """Changes in groups whose regions touch, in a fixed order."""
    groups: list[list[_Change]] = []
    for change in sorted(changes, key=lambda item: (item.region.top, item.region.left, item.region.bottom)):
        joined, apart = [change], []
        for group in groups:
            if any(_touch(change.region, other.region) for other in group):
                joined = group + joined
            else:
                apart.append(group)
        groups = [*apart, joined]
    return groups


def _touch(a: Region, b: Region) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom
