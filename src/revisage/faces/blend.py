"""Where a restored crop is shown, and in whose colours: soft masks and the colour match.

Both work in crop space and on a coarse grid: a mask that is meant to be soft and low frequencies need no more.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FACE_CLASSES", "landmark_mask", "matched_difference", "parse_mask"]

FACE_CLASSES = (1, 2, 3, 4, 5, 6, 7, 10, 11, 12)
"""Classes of a CelebAMask-HQ parse map that are face: skin, nose, glasses, eyes, brows, mouth and lips."""

# The face's outline as seen from the middle between eyes and mouth: across in eye distances, down in distances from
# the eyes to the mouth. Brows and half of the forehead, temples, cheeks, jaw, chin.
_RIGHT = [(0.66, -1.33), (1.10, -0.75), (1.17, -0.05), (1.03, 0.62), (0.66, 1.10)]
_OUTLINE = np.array([(0, -1.45), *_RIGHT, (0, 1.32), *((-x, y) for x, y in reversed(_RIGHT))])
# Parts of the crop's side: cell of the coarse grid, softness of the edge, and the border where a mask is 0.
_GRID = 128
_SOFTNESS = 1 / 28
_EDGE = (0.01, 0.12)
# Low frequencies: cells per side, and the Gaussian's sigma in cells: together 1/8 of the side. On test faces degraded
# 4 to 8 times, a true restoration keeps 40 to 48 dB through it (35 to 44 at 1/16); a tint is taken off to 37 to 40 dB.
_COLOUR_GRID = 32
_COLOUR_SIGMA = 4.0


def landmark_mask(landmarks: ArrayLike, size: int) -> NDArray[np.float32]:
    """A soft mask of the convex region from the brows to the chin and cheek to cheek.

    Args:
        landmarks: ``(5, 2)``, the face's landmarks in the crop (px).
        size: side of the crop (px).

    Returns:
        ``(size, size) float32``, 1 on the face, 0 well before the crop's border, smooth between.
    """
    points = (np.asarray(landmarks, dtype=np.float64) + 0.5) * (_GRID / size) - 0.5
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
    canvas = np.zeros((_GRID, _GRID), np.uint8)
    cv2.fillConvexPoly(canvas, cv2.convexHull(np.round(outline * 16).astype(np.int32)), 255, cv2.LINE_AA, 4)
    return _softened(canvas / np.float32(255), size)


def parse_mask(
    parse_map: NDArray[np.integer], size: int, *, classes: Iterable[int] = FACE_CLASSES
) -> NDArray[np.float32]:
    """A soft mask of the classes of a parse map.

    Args:
        parse_map: ``(H, W)`` integers, classes of CelebAMask-HQ as ParseNet gives them for the crop.
        size: side of the mask (px).
        classes: those that count as face.

    Returns:
        ``(size, size) float32`` like :func:`landmark_mask`.

    Raises:
        ValueError: the parse map is not a two-dimensional map of integers.
    """
    if parse_map.ndim != 2 or not np.issubdtype(parse_map.dtype, np.integer):
        raise ValueError(f"a parse map is (H, W) integers, got {parse_map.shape} {parse_map.dtype}")
    inside = np.isin(parse_map, list(classes)).astype(np.float32)
    return _softened(cv2.resize(inside, (_GRID, _GRID), interpolation=cv2.INTER_AREA), size)


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
    crop: NDArray[np.uint8],
    restored: NDArray[np.uint8],
    mask: NDArray[np.float32],
    colours: NDArray[np.uint8] | None = None,
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
