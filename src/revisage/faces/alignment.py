"""Align a face to the FFHQ template: landmarks to an affine, frame to a crop.

Coordinates follow OpenCV: integers are the centres of pixels. The template is stated for 512 px in that convention, so
another size scales about the corner of the pixel grid, ``p' = (p + 0.5) * size / 512 - 0.5``: crops of 256 and 512 px
show exactly the same part of the frame.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from revisage.core import Crop, Face, Region

if TYPE_CHECKING:
    from revisage.media import Frame

__all__ = [
    "ARCFACE_112",
    "AlignedFace",
    "FineChange",
    "align",
    "crop_affine",
    "crop_scale",
    "ffhq_template",
    "identity_input",
    "invert",
    "pixel_grid",
    "similarity",
    "transform",
    "warp_antialiased",
]

Affine = NDArray[np.float64]
"""A (2, 3) matrix that maps pixel coordinates x, y."""

_TEMPLATE_512 = np.array(
    [
        (192.98138, 239.94708),
        (318.90277, 240.1936),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    ]
)
ARCFACE_112 = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
"""Where recognisers trained like ArcFace (Deng et al., CVPR 2019) are shown the five landmarks, in crops of 112 px."""

_IDENTITY_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IDENTITY_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

_MARGIN = 4
"""Pixels around the crop's footprint that interpolation and the low-pass before it may read."""


@dataclass(frozen=True, eq=False)
class FineChange:
    """What a fine restorer changes in a frame, before any crop of it is restored.

    Attributes:
        region: where.
        delta: ``(h, w, 3) float32 RGB`` in 1/255, of the region's size, not masked; None: nothing is changed.
        crop: ``(size, size, 3) uint8 RGB``, the face's crop with that change in it.
        rest: 0 to 1, how much of what a restorer changes in that crop is shown.
    """

    region: Region
    delta: NDArray[np.float32] | None
    crop: Crop
    rest: float = 1.0


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """A face cut out of a frame.

    Attributes:
        crop: ``(size, size, 3) uint8 RGB``.
        affine: ``(2, 3) float64``, frame pixels to crop pixels (centres at integers).
        region: the part of the frame that the crop shows, cut at the frame's border.
        landmarks: ``(5, 2) float32``, the face's landmarks in the crop (px).
        steady: ``(size, size, 3) uint8 RGB``, the crop with its noise averaged over time: what is restored, and whose
            low frequencies are kept; None takes the crop itself.
        fine: what is changed in the frame first; None where nothing is.
        covered: ``(n, n) float32`` 0 to 1, how much of each of n x n cells of the crop is before the face and left as
            it is; None where nothing is.
    """

    crop: Crop
    affine: Affine
    region: Region
    landmarks: NDArray[np.float32]
    steady: Crop | None = None
    fine: FineChange | None = None
    covered: NDArray[np.float32] | None = None

    @property
    def base(self) -> Crop:
        """What a restorer's change is added to: the crop, with the fine change where there is one."""
        return self.crop if self.fine is None else self.fine.crop

    @property
    def input(self) -> Crop:
        """What a restorer is given: that, steady where it is."""
        return self.base if self.steady is None else self.steady

    @property
    def shows_restored(self) -> bool:
        """Whether anything of what a restorer makes of the crop is shown."""
        return self.fine is None or self.fine.rest > 0

    @property
    def is_left(self) -> bool:
        """Whether the face is clean and sharp already, so that nothing of it is changed."""
        return self.fine is not None and self.fine.delta is None and self.fine.rest == 0

    @property
    def size(self) -> int:
        """Side of the crop (px)."""
        return int(self.crop.shape[0])


def ffhq_template(size: int) -> NDArray[np.float64]:
    """The five FFHQ landmarks in a crop of ``size`` px: ``(5, 2) float64``, pixel centres at integers."""
    return (_TEMPLATE_512 + 0.5) * (size / 512) - 0.5


def crop_affine(landmarks: ArrayLike, size: int) -> Affine:
    """The similarity that brings landmarks nearest to the template, in closed form.

    Least squares after Umeyama (1991); in the plane, with points as complex numbers, the best rotation and scale is
    one division.

    Args:
        landmarks: ``(5, 2)``, x, y in frame pixels.
        size: side of the crop (px).

    Returns:
        ``(2, 3) float64``, frame pixels to crop pixels; never mirrors.

    Raises:
        ValueError: the landmarks coincide or are not five finite points.
    """
    return similarity(landmarks, ffhq_template(size))


def similarity(landmarks: ArrayLike, template: ArrayLike) -> Affine:
    """The similarity that brings five landmarks nearest to a template of five points, as :func:`crop_affine` does.

    Raises:
        ValueError: the landmarks coincide or are not five finite points.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ValueError(f"expected five finite landmarks, got {landmarks!r}")
    source = points @ (1, 1j)
    target = np.asarray(template, dtype=np.float64) @ (1, 1j)
    centred = source - source.mean()
    spread = float(np.vdot(centred, centred).real)
    turn = complex(np.vdot(centred, target - target.mean())) / spread if spread > 1e-6 else 0j
    if abs(turn) < 1e-9:
        raise ValueError("landmarks that coincide or contradict the template cannot be aligned")
    shift = complex(target.mean() - turn * source.mean())
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def crop_scale(affine: Affine) -> float:
    """Crop pixels per frame pixel of a similarity: below 1 the crop is a reduction."""
    return float(math.sqrt(abs(np.linalg.det(affine[:, :2]))))


def invert(affine: Affine) -> Affine:
    """The inverse of a ``(2, 3)`` affine."""
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack((linear, -linear @ affine[:, 2]))


def transform(affine: Affine, points: ArrayLike) -> NDArray[np.float64]:
    """Points ``(N, 2)`` under a ``(2, 3)`` affine."""
    moved: NDArray[np.float64] = np.asarray(points, dtype=np.float64) @ affine[:, :2].T + affine[:, 2]
    return moved


def align(frame: Frame, face: Face, size: int) -> AlignedFace:
    """Cut a face out of a frame, upright and in FFHQ framing.

    Only the crop's footprint in the frame is converted to RGB. A face larger than the crop is reduced without
    aliasing, a smaller one is enlarged bilinearly, as the official crops are. Outside of the frame its mirror image
    is seen.

    Raises:
        ValueError: the landmarks cannot be aligned.
    """
    affine = crop_affine(face.landmarks, size)
    region = _footprint(affine, size, frame.size_hw)
    pixels = frame.rgb(region)
    to_crop = affine.copy()
    to_crop[:, 2] = transform(affine, [(region.left, region.top)])[0]
    crop = warp_antialiased(
        pixels, to_crop, (size, size), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_REFLECT_101
    )
    landmarks = transform(affine, face.landmarks).astype(np.float32)
    return AlignedFace(crop, affine, region, landmarks)


def warp_antialiased(
    image: NDArray[Any], affine: Affine, size_hw: tuple[int, int], *, interpolation: int, border: int
) -> NDArray[Any]:
    """Warp an image by a similarity, low-passed first where it shrinks.

    A reduction by ``r`` wants a low-pass of variance ``(r² - 1) / 8`` px², as blurry as an area average of that
    width. Large ones begin with an area reduction by a whole number, which is fast; a Gaussian adds the rest, so the
    result changes smoothly with ``r``.

    Args:
        image: ``(H, W)`` or ``(H, W, C)``, uint8 or float32; not changed.
        affine: image pixels to output pixels (centres at integers).
        size_hw: height and width of the output (px).
        interpolation: OpenCV interpolation.
        border: OpenCV border mode; a constant border is 0.
    """
    reduction = 1 / crop_scale(affine)
    mapping = affine
    if reduction > 1:
        image, mapping = _low_passed(image, affine, reduction, border)
    return cv2.warpAffine(image, mapping, size_hw[::-1], flags=interpolation, borderMode=border)


def _low_passed(image: NDArray[Any], affine: Affine, reduction: float, border: int) -> tuple[NDArray[Any], Affine]:
    """The image reduced and blurred for a warp that shrinks by ``reduction``, and the affine from there."""
    whole = _whole_reduction(reduction)
    height, width = image.shape[:2]
    columns, rows = -(-width // whole), -(-height // whole)
    variance = (reduction**2 - 1) / 8 - (whole**2 - 1) / 12
    if whole > 1:
        image = cv2.copyMakeBorder(image, 0, rows * whole - height, 0, columns * whole - width, border)
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        centre = (whole - 1) / 2
        affine = np.column_stack((affine[:, :2] * whole, transform(affine, [(centre, centre)])[0]))
    sigma = math.sqrt(max(variance, 0.0)) / whole
    # Below this the kernel's neighbours weigh less than one step of 255.
    if sigma > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=border)
    return image, affine


def _whole_reduction(reduction: float) -> int:
    """The part of a reduction that an area average may do: the rest stays above 1.5, where the interpolation that
    follows blurs next to nothing."""
    return max(1, int(reduction / 1.5))


def _footprint(affine: Affine, size: int, size_hw: tuple[int, int]) -> Region:
    """The region of a frame that a crop of ``size`` px shows, at least one pixel."""
    corners = transform(invert(affine), [(-1, -1), (size, -1), (-1, size), (size, size)])
    step = _whole_reduction(1 / crop_scale(affine))
    # On a grid fixed in the frame, an area reduction does not shimmer when the face moves.
    low = np.floor((corners.min(axis=0) - _MARGIN * step) / step) * step
    high = np.ceil((corners.max(axis=0) + 1 + _MARGIN * step) / step) * step
    height, width = size_hw
    left, top = (int(np.clip(v, 0, n - 1)) for v, n in zip(low, (width, height), strict=True))
    right, bottom = (int(np.clip(v, 1, n)) for v, n in zip(high, (width, height), strict=True))
    return Region(left, top, max(right, left + 1), max(bottom, top + 1))


def identity_input(image: NDArray[np.uint8], landmarks: ArrayLike) -> NDArray[np.float32]:
    """What MobileFaceNet is shown of a face: ``(1, 3, 112, 112) float32 RGB``, each colour to mean 0, deviation 1.

    Args:
        image: ``(H, W, 3) uint8 RGB``.
        landmarks: ``(5, 2)`` in it, px.

    Raises:
        ValueError: the landmarks cannot be aligned.
    """
    affine = similarity(landmarks, ARCFACE_112)
    crop = warp_antialiased(image, affine, (112, 112), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_REFLECT_101)
    pixels = (crop.astype(np.float32) / np.float32(255) - _IDENTITY_MEAN) / _IDENTITY_DEVIATION
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


@functools.lru_cache(maxsize=8)
def pixel_grid(height: int, width: int) -> NDArray[np.float32]:
    """x and y of each pixel of a picture, ``(height, width, 2)``; read-only."""
    rows, columns = np.mgrid[:height, :width]
    grid = np.stack((columns, rows), axis=-1).astype(np.float32)
    grid.flags.writeable = False
    return grid
