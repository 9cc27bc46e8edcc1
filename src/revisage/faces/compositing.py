"""Put restored faces back into a frame by adding what the restoration changed.

In crop space the change is ``mask * strength * (colour-matched restored - crop)``. It is warped by the inverse of the
crop's affine into its place in the frame and added to the native planes. So a crop that was not restored, or a
strength of 0, changes no sample at any size of the output, and the pixels under the face are interpolated once only.

An output enlarged by Lanczos holds more of the source's finest noise than the bilinear crop that the restorer saw.
Where nothing in the source is finer than the crop, that noise goes with what the restorer took off.

What a fine restorer changes in a large face (:mod:`revisage.faces.fine_change`) is shown by the same mask.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from revisage.core import Crop, Region
from revisage.faces.alignment import Affine, AlignedFace, crop_scale, invert, transform, warp_antialiased

if TYPE_CHECKING:
    from revisage.media import Frame

__all__ = [
    "Restored",
    "ShownFace",
    "composite",
    "hidden_share",
    "landmark_mask",
    "matched_difference",
    "scaled_affine",
    "share_in_frame",
    "shown_face",
    "shown_mask",
    "shown_region",
]


Restored = tuple[AlignedFace, Crop, float]
"""A face, its restored crop ``(size, size, 3) uint8 RGB`` and the strength 0 to 1 to show it at."""


_RIGHT = [(0.66, -1.33), (1.10, -0.75), (1.17, -0.05), (1.03, 0.62), (0.66, 1.10)]
_OUTLINE = np.array([(0, -1.45), *_RIGHT, (0, 1.32), *((-x, y) for x, y in reversed(_RIGHT))])
"""The face's outline as seen from the middle between eyes and mouth: across in eye distances, down in distances from
the eyes to the mouth. Brows and half of the forehead, temples, cheeks, jaw, chin."""
_GRID = 128
"""Cells of the grid, per side of the crop, on which a mask is drawn: what is meant to be soft needs no more."""
_SOFTNESS = 1 / 28
"""Sigma of the mask's edge, as a part of the crop's side."""
_EDGE = (0.01, 0.12)
"""Within the first part of the crop's side from its border a mask is 0; from the second on it is as drawn."""
_COLOUR_GRID = 32
_COLOUR_SIGMA = 4.0
"""Low frequencies: cells per side, and the Gaussian's sigma in cells: together 1/8 of the side. On test faces degraded
4 to 8 times, a true restoration keeps 40 to 48 dB through it (35 to 44 at 1/16); a tint is taken off to 37 to 40 dB."""


@dataclass(frozen=True, eq=False)
class ShownFace:
    """Where a face is shown in a frame.

    Attributes:
        region: the part of the frame.
        mask: ``(size, size) float32`` 0 to 1 in the crop, how much of it is the face.
        to_region: crop pixels to pixels of the region.
    """

    region: Region
    mask: NDArray[np.float32]
    to_region: Affine

    def mask_in_frame(self) -> NDArray[np.float32]:
        """The mask in the region, ``(h, w) float32``."""
        return _warp(self.mask, self.to_region, self.region.size_hw, cv2.INTER_LINEAR)


@dataclass(frozen=True, eq=False)
class _Change:
    """What one face changes in the frame.

    Attributes:
        shown: where.
        delta: ``(h, w, 3) float32 RGB`` in 1/255 in its region, weighted with the mask already.
    """

    shown: ShownFace
    delta: NDArray[np.float32]

    @property
    def region(self) -> Region:
        return self.shown.region


def shown_face(
    face: AlignedFace, size_hw: tuple[int, int], factors: tuple[float, float] = (1.0, 1.0)
) -> ShownFace | None:
    """Where a face is shown in a frame of ``size_hw``, ``factors`` (x, y) as large as the one it was cut from; None
    where nothing of it is."""
    mask = shown_mask(face)
    to_frame = invert(scaled_affine(face.affine, factors))
    region = shown_region(mask, to_frame, size_hw)
    if region is None:
        return None
    to_frame[:, 2] -= (region.left, region.top)
    return ShownFace(region, mask, to_frame)


def composite(
    frame: Frame,
    restored: Sequence[Restored],
    upscale: float | tuple[float, float] = 1.0,
    *,
    own_colours: bool = False,
    places: Sequence[ShownFace | None] | None = None,
) -> Frame:
    """Show restored faces in a frame.

    Args:
        frame: the frame to change, already at the output's size; it is not mutated.
        restored: the faces, aligned in the frame before it was resized. Their order does not matter.
        upscale: size of ``frame`` over the size the faces were aligned in, as one factor or as two (x, y) where
            rounding to whole pixels made them differ. Pixel centres map as ``(x + 0.5) * upscale - 0.5``.
        own_colours: leave the crops the colours that they have; else they take those of the source.
        places: of the faces, as :func:`shown_face` gives them, where they are known.

    Returns:
        A new frame; ``frame`` itself when nothing changes.

    Raises:
        ValueError: a strength outside 0 to 1, or a restored crop of another shape than its face's.
    """
    factors = upscale if isinstance(upscale, tuple) else (upscale, upscale)
    if places is None:
        places = [shown_face(face, frame.size_hw, factors) for face, _, _ in restored]
    pairs = zip(restored, places, strict=True)
    changes = [_change(frame, *item, place, factors, own_colours) for item, place in pairs]
    return frame.add_all_rgb(_merged([change for change in changes if change is not None]))


def scaled_affine(affine: Affine, factors: tuple[float, float]) -> Affine:
    """The affine from a frame resized by (x, y) ``factors`` to the crop, given that from the original frame."""
    scale = np.array(factors, dtype=np.float64)
    return np.column_stack((affine[:, :2] / scale, transform(affine, [0.5 / scale - 0.5])[0]))


def _change(
    frame: Frame,
    face: AlignedFace,
    restored: Crop,
    strength: float,
    shown: ShownFace | None,
    factors: tuple[float, float],
    own_colours: bool,
) -> _Change | None:
    """What one face changes in a frame; None when that is nothing."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie between 0 and 1, got {strength}")
    if restored.shape != face.crop.shape or restored.dtype != np.uint8:
        raise ValueError(f"a restored crop is {face.crop.shape} uint8, got {restored.shape} {restored.dtype}")
    is_restored = face.shows_restored and not (face.fine is None and np.array_equal(restored, face.crop))
    is_fine, is_enlarged = face.fine is not None and face.fine.delta is not None, factors != (1.0, 1.0)
    if shown is None or strength == 0 or not (is_restored or is_fine):
        return None
    region = shown.region
    if is_restored:
        change = _Change(shown, _moved_change(shown, face, restored, strength, own_colours))
    else:
        change = _Change(shown, np.zeros((*region.size_hw, 3), np.float32))
    if not is_fine and not is_enlarged:
        return change
    mask, fine = shown.mask_in_frame()[..., None] * np.float32(strength), _moved_fine(face, region, factors)
    if is_restored and is_enlarged:
        fine = fine - _unseen(change, face, frame.rgb(region) + fine, mask)
    return replace(change, delta=change.delta + mask * fine)


def _moved_change(
    shown: ShownFace, face: AlignedFace, restored: Crop, strength: float, own_colours: bool
) -> NDArray[np.float32]:
    """What a restorer made of a face's crop changes where it is shown, ``(h, w, 3) float32 RGB``."""
    if own_colours:
        difference = cv2.subtract(restored, face.base, dtype=cv2.CV_32F)
    else:
        difference = matched_difference(face.base, restored, shown.mask, face.steady)
    part = strength if face.fine is None else strength * face.fine.rest
    weighted = cv2.multiply(difference, cv2.merge((shown.mask,) * 3), scale=part, dst=difference)
    return _warp(weighted, shown.to_region, shown.region.size_hw, cv2.INTER_CUBIC)


def _unseen(
    change: _Change, face: AlignedFace, output: NDArray[np.float32], shown: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What a restorer did not see of the output, ``(h, w, 3) float32 RGB``; 0 where it is finer than the crop.

    It is noise where the restorer took its like off what it saw, and there already where it made that sharper: as far
    as the change has it, either way. A crop that the restorer left as it was stays as sharp as the output is.
    """
    base = _warp(face.base.astype(np.float32), change.shown.to_region, change.region.size_hw, cv2.INTER_CUBIC)
    finer = np.clip(1 / crop_scale(face.affine) - 1, 0, 0.5) / 0.5
    unseen: NDArray[np.float32] = (output - base) * np.float32(1 - finer)
    weighted = unseen * shown
    power = max(float(np.square(weighted).sum()), 1e-6)
    return unseen * np.float32(min(1.0, abs(float((weighted * change.delta).sum())) / power))


def _moved_fine(face: AlignedFace, region: Region, factors: tuple[float, float]) -> NDArray[np.float32]:
    """The fine change of a face in a region of the output, ``(h, w, 3) float32 RGB``, not masked."""
    if face.fine is None or face.fine.delta is None:
        return np.zeros((*region.size_hw, 3), np.float32)
    scale = np.array(factors, dtype=np.float64)
    corner = np.array([face.fine.region.left, face.fine.region.top]) + 0.5
    place = np.column_stack((np.diag(scale), corner * scale - 0.5 - (region.left, region.top)))
    return _warp(face.fine.delta, place, region.size_hw, cv2.INTER_CUBIC)


def _warp(
    image: NDArray[np.float32], affine: Affine, size_hw: tuple[int, int], interpolation: int
) -> NDArray[np.float32]:
    return warp_antialiased(image, affine, size_hw, interpolation=interpolation, border=cv2.BORDER_CONSTANT)


def shown_region(mask: NDArray[np.float32], to_frame: Affine, size_hw: tuple[int, int]) -> Region | None:
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
            masks[inside] += change.shown.mask_in_frame()
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


def landmark_mask(landmarks: ArrayLike, size: int) -> NDArray[np.float32]:
    """A soft mask of the convex region from the brows to the chin and cheek to cheek.

    Args:
        landmarks: ``(5, 2)``, the face's landmarks in the crop (px).
        size: side of the crop (px).

    Returns:
        ``(size, size) float32``, 1 on the face, 0 well before the crop's border, smooth between.
    """
    outline = _face_outline((np.asarray(landmarks, dtype=np.float64) + 0.5) * (_GRID / size) - 0.5)
    canvas = np.zeros((_GRID, _GRID), np.uint8)
    cv2.fillConvexPoly(canvas, cv2.convexHull(np.round(outline * 16).astype(np.int32)), 255, cv2.LINE_AA, 4)
    return _softened(canvas / np.float32(255), size)


def shown_mask(face: AlignedFace) -> NDArray[np.float32]:
    """Where a face is restored: :func:`landmark_mask` without what is before it, ``(size, size) float32``."""
    mask = landmark_mask(face.landmarks, face.size)
    if face.covered is None:
        return mask
    left = cv2.resize(face.covered, (face.size, face.size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(mask * (1 - left), np.float32)


def hidden_share(face: AlignedFace) -> float:
    """How much of a face, brows to chin and cheek to cheek, is hidden, 0 to 1."""
    if face.covered is None:
        return 0.0
    mask = landmark_mask(face.landmarks, face.size)
    cells = cv2.resize(mask, face.covered.shape[::-1], interpolation=cv2.INTER_AREA)
    return float((cells * face.covered).sum() / max(float(cells.sum()), 1e-6))


def share_in_frame(landmarks: ArrayLike, size_hw: tuple[int, int]) -> float:
    """How much of a face, brows to chin and cheek to cheek, lies in the frame, 0 to 1.

    Args:
        landmarks: ``(5, 2)`` in frame pixels; they may lie outside.
        size_hw: of the frame (px).
    """
    outline = cv2.convexHull(_face_outline(np.asarray(landmarks, dtype=np.float64)).astype(np.float32))[:, 0]
    height, width = size_hw
    if (outline >= -0.5).all() and (outline <= (width - 0.5, height - 0.5)).all():
        return 1.0
    right, bottom = width - 0.5, height - 0.5
    frame = np.array([(-0.5, -0.5), (right, -0.5), (right, bottom), (-0.5, bottom)], np.float32)
    return float(cv2.intersectConvexConvex(outline, frame)[0] / cv2.contourArea(outline))


def _face_outline(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points around a face with five landmarks, ``(N, 2)`` in their pixels."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    down = mouth - eyes
    # In profile the eyes close up while the head stays as wide: never narrower than its height asks for.
    across = np.array([down[1], -down[0]]) / max(float(np.hypot(*down)), 1e-6)
    width = max(float(np.dot(points[1] - points[0], across)), 0.75 * float(np.hypot(*down)))
    middle = (eyes + mouth) / 2
    outline = middle + _OUTLINE[:, :1] * across * width + _OUTLINE[:, 1:] * down
    # The nose leans to the side that the head turns to; the far cheek recedes behind it.
    lean = float(np.dot(points[2] - middle, across)) / width
    outline += across * width * float(np.clip(lean, -0.5, 0.5)) * -0.5
    shape: NDArray[np.float64] = outline
    return shape


def _softened(inside: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """A mask on the coarse grid, blurred, faded to 0 at the border and brought to ``size``."""
    soft = cv2.GaussianBlur(inside, (0, 0), _SOFTNESS * _GRID, borderType=cv2.BORDER_CONSTANT) * _window(_GRID)
    # The Gaussian's far tail would make the pasted region larger for nothing that can be seen.
    soft = np.clip((soft - 0.01) / 0.98, 0, 1)
    return cv2.resize(soft, (size, size), interpolation=cv2.INTER_LINEAR)


@functools.lru_cache(maxsize=1)
def _window(count: int) -> NDArray[np.float32]:
    """A square window: 0 at the border, 1 inside, a raised cosine between."""
    depth = (np.minimum(np.arange(count), np.arange(count)[::-1]) + 0.5) / count
    ramp = np.clip((depth - _EDGE[0]) / (_EDGE[1] - _EDGE[0]), 0, 1)
    side = (0.5 - 0.5 * np.cos(np.pi * ramp)).astype(np.float32)
    return np.minimum.outer(side, side)


def matched_difference(
    crop: Crop,
    restored: Crop,
    mask: NDArray[np.float32],
    colours: Crop | None = None,
) -> NDArray[np.float32]:
    """What the restoration changes, once its colours are matched to the input's.

    The restored crop keeps its own detail and takes the input's low frequencies (the low band of a wavelet colour
    match): the low-passed difference is taken off the difference. It is averaged under the mask only, so that what
    a restorer makes of the background does not tint the face.

    Args:
        crop: ``(size, size, 3) uint8 RGB``, as the frame shows it.
        restored: the same shape, what it made.
        mask: ``(size, size) float32`` 0 to 1.
        colours: the shape of ``crop``, the input whose low frequencies are kept; None takes ``crop``.

    Returns:
        ``(size, size, 3) float32 RGB`` in steps of 1/255, not masked; exactly 0 where nothing was restored.
    """
    size = crop.shape[0]
    drift = cv2.subtract(restored, crop if colours is None else colours, dtype=cv2.CV_32F)
    drift = _coarse(cv2.multiply(drift, cv2.merge((mask, mask, mask)), dst=drift))
    drift /= (_coarse(mask) + 1e-3)[..., None]
    drift = cv2.resize(drift, (size, size), interpolation=cv2.INTER_LINEAR)
    difference = cv2.subtract(restored, crop, dtype=cv2.CV_32F)
    matched: NDArray[np.float32] = cv2.subtract(difference, drift, dst=difference)
    return matched


def _coarse(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The low frequencies of a square image on the colour grid."""
    small = cv2.resize(image, (_COLOUR_GRID, _COLOUR_GRID), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), _COLOUR_SIGMA, borderType=cv2.BORDER_REPLICATE)
