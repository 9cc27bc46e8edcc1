"""How good a face is for training: sharpness, pose, size and how much of its frame is there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from revisage.datasets.align_choose import Look

if TYPE_CHECKING:
    from revisage.core import Face
    from revisage.media import Frame

__all__ = ["MEASURED_SIZE", "look_at", "outside_part", "sharpness", "yaw_degrees"]

MEASURED_SIZE = 256
"""Side of the crop that a face is judged by, px."""

# The face itself in FFHQ framing, as parts of the crop's side: brows to chin, cheek to cheek.
_FACE = (slice(0.38, 0.85), slice(0.28, 0.72))
# The tip of the nose stands out by this part of the distance of the eyes.
_NOSE = 0.55
_GRID = 32
# Side of the small picture that near-duplicates are told by.
_SMALL = 24


def look_at(frame: Frame, face: Face) -> Look:
    """Judge one face by its crop of 256 px."""
    from revisage.faces import align, crop_scale

    aligned = align(frame, face, MEASURED_SIZE)
    luma = cv2.cvtColor(aligned.crop, cv2.COLOR_RGB2GRAY)
    return Look(
        native_px=MEASURED_SIZE / crop_scale(aligned.affine),
        outside=outside_part(aligned.affine, frame.size_hw),
        sharpness=sharpness(luma),
        yaw=yaw_degrees(face.landmarks),
        picture=_small(luma),
    )


def sharpness(luma: NDArray[np.uint8]) -> float:
    """Deviation (levels) of the Laplacian inside the face of a (256, 256) crop, after a Gaussian of 1 px.

    The Gaussian keeps sensor noise and block edges from passing for detail (Pech-Pacheco et al., ICPR 2000, take the
    variance of the plain Laplacian).
    """
    side = luma.shape[0]
    rows, columns = (slice(round(part.start * side), round(part.stop * side)) for part in _FACE)
    smooth = cv2.GaussianBlur(luma.astype(np.float32), (0, 0), 1.0)
    return float(cv2.Laplacian(smooth, cv2.CV_32F)[rows, columns].std())


def yaw_degrees(landmarks: ArrayLike) -> float:
    """How far a head is turned, from five landmarks (5, 2): above 0 when the nose points to the picture's right.

    The nose's tip lies before the middle of the eyes by about half of their distance; turned, it moves along the line
    of the eyes. An estimate: good to some ten degrees, which is what telling poses apart needs.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    eyes = points[1] - points[0]
    distance = float(np.hypot(*eyes))
    if distance < 1e-6:
        return 90.0
    along = float((points[2] - (points[0] + points[1] + points[3] + points[4]) / 4) @ eyes) / distance**2
    return math.degrees(math.atan(along / _NOSE))


def outside_part(affine: NDArray[np.float64], size_hw: tuple[int, int]) -> float:
    """The part of a crop of 256 px that lies outside of the frame, 0 to 1; affine: (2, 3), frame to crop."""
    from revisage.faces import invert, transform

    steps = (np.arange(_GRID) + 0.5) * MEASURED_SIZE / _GRID - 0.5
    points = transform(invert(affine), np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2))
    inside = (points >= -0.5).all(axis=1) & (points <= np.array(size_hw[::-1]) - 0.5).all(axis=1)
    return float(1 - inside.mean())


def _small(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A small picture of the crop's middle without its light: mean 0, deviation 1."""
    edge = luma.shape[0] // 8
    middle = cv2.resize(luma[edge:-edge, edge:-edge], (_SMALL, _SMALL), interpolation=cv2.INTER_AREA).astype(np.float32)
    middle -= middle.mean()
    return np.asarray(middle / max(float(middle.std()), 1.0), np.float32)
