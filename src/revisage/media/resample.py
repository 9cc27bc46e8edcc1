"""Planes at another size: Lanczos that averages when shrinking, with exact phases."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["resize_plane"]


def resize_plane(
    plane: NDArray[Any], size_hw: tuple[int, int], maximum: int, shift_xy: tuple[float, float] = (0.0, 0.0)
) -> NDArray[Any]:
    """A plane at another size.

    Args:
        plane: ``(H, W)`` uint8 or uint16.
        size_hw: the size wanted, in samples.
        maximum: the largest value a sample may have.
        shift_xy: how far to the right and down of its place each sample is to be read, in samples of ``plane``.
    """
    height, width = plane.shape
    if (height, width) == size_hw:
        return plane
    if size_hw[0] >= height and size_hw[1] >= width and shift_xy == (0.0, 0.0):
        return _enlarged(plane, size_hw, maximum)
    left, right = _margins(shift_xy[0])
    top, bottom = _margins(shift_xy[1])
    padded = np.pad(plane, ((top, bottom), (left, right)), mode="edge") if left + right + top + bottom else plane
    x, y = left + shift_xy[0], top + shift_xy[1]
    box = (x, y, x + width, y + height)
    source = np.ascontiguousarray(padded if maximum <= 255 else padded.astype(np.float32))
    image = Image.fromarray(source).resize((size_hw[1], size_hw[0]), Image.Resampling.LANCZOS, box=box)
    values = np.asarray(image)
    if maximum <= 255:
        return np.minimum(values, maximum).astype(np.uint8) if maximum < 255 else values
    return np.clip(np.rint(values), 0, maximum).astype(np.uint16)


def _enlarged(plane: NDArray[Any], size_hw: tuple[int, int], maximum: int) -> NDArray[Any]:
    # OpenCV is about twice as fast here as Pillow, and faster in 16 bits than in 8; it has no averaging, though.
    wide = cv2.resize(plane.astype(np.uint16), size_hw[::-1], interpolation=cv2.INTER_LANCZOS4)
    return np.minimum(wide, maximum, out=wide).astype(plane.dtype)


def _margins(shift: float) -> tuple[int, int]:
    """Rows to repeat before and after a plane so that a shifted box lies inside it."""
    beyond = math.ceil(abs(shift))
    return (beyond, 0) if shift < 0 else (0, beyond)
