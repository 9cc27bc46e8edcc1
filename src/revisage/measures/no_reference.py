"""Measures of one image by itself: NIQE, BRISQUE, sharpness.

NIQE, the natural image quality evaluator (Mittal, Soundararajan, Bovik, 2013): statistics of normalised luminance in
blocks of 96 px at two scales are fitted by one Gaussian and compared with that of undamaged photographs. The published
model was fitted on 125 photos; the one that ships with revisage is the mean and covariance of those blocks of real face
photos whose mean deviation reaches 0.75 of their photo's sharpest block. So its values compare with each other, not
with published ones; give the published parameters' file as ``pristine`` to get those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Crop, Image
from revisage.measures.full_reference import check_sides, piq_for, unit_tensor

__all__ = [
    "BRISQUE_FILE",
    "CLEAN_SHARPNESS",
    "brisque",
    "brisque_weights",
    "face_sharpness",
    "niqe",
    "sharpness",
]

Features = NDArray[np.float64]

BRISQUE_FILE = "brisque_svm_weights.pt"
_LEAST_BRISQUE = 16
CLEAN_SHARPNESS = (0.54, 1.2)
"""Crops of clean photographs have a :func:`face_sharpness` between these at 256 px. Measured on 60 test faces of 512 px
and more, reduced to 256: 0.54 to 0.92; after a 2x reduction, light noise and JPEG 85 they have at most 0.53, after
stronger damage at most 0.38. Of 150 FFHQ training faces 96 % lie between 0.62 and 1.18; noise on top of the scene goes
beyond."""
_ROUNDING = 10.0
"""Variance of the Laplacian that rounding to 8 bits and a codec's dither leave in a crop that shows next to nothing;
clean faces have 150 and more."""
_BLOCK = 96
"""Side of NIQE's blocks (px)."""
_SHAPES = np.arange(0.2, 10.001, 0.001)
_lgamma = np.vectorize(math.lgamma)
_RATIOS = np.exp(2 * _lgamma(2 / _SHAPES) - _lgamma(1 / _SHAPES) - _lgamma(3 / _SHAPES))
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Right, below and both diagonals: whose products with a pixel NIQE fits, in the order of its features."""


def niqe(images: Image | Sequence[Image], *, pristine: Path | None = None) -> float:
    """NIQE of one image, or of several frames pooled as one sample (steadier for short clips).

    Args:
        images: ``(H, W, 3) uint8`` RGB, each side at least 96 px.
        pristine: npz with ``mu_pris_param`` and ``cov_pris_param``; by default the model that ships here.

    Raises:
        ValueError: an image is smaller than one block, or all blocks are flat.
    """
    frames = [images] if isinstance(images, np.ndarray) else list(images)
    features = np.concatenate([_image_features(frame) for frame in frames])
    features = features[np.isfinite(features).all(axis=1)]
    if len(features) == 0:
        raise ValueError("NIQE is not defined for images without any texture")
    mean, covariance = _pristine(str(pristine) if pristine else None)
    spread = np.cov(features, rowvar=False) if len(features) > 1 else np.zeros_like(covariance)
    difference = mean - features.mean(axis=0)
    return float(np.sqrt(difference @ np.linalg.pinv((covariance + spread) / 2) @ difference))


def brisque(image: Image) -> float:
    """BRISQUE, about 0 (best) to 100, without a reference (Mittal, Moorthy, Bovik, IEEE TIP 2012), by piq.

    Call it only where :func:`brisque_weights` finds the file: piq would fetch it by itself otherwise.

    Args:
        image: ``(H, W, 3) uint8`` RGB, at least 16 px a side.

    Raises:
        ValueError: the image is too small or flat.
        MissingExtraError: piq is not installed.
    """
    check_sides(image, _LEAST_BRISQUE, "BRISQUE")
    if image.min() == image.max():
        raise ValueError("BRISQUE is not defined for images without any texture")
    piq = piq_for("BRISQUE")
    return float(piq.brisque(unit_tensor(image), data_range=1.0))


def brisque_weights() -> Path | None:
    """The weights that piq keeps in torch's cache once they were fetched; None when they are not there."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / BRISQUE_FILE
    return path if path.is_file() else None


def sharpness(image: Image) -> float:
    """Variance of the Laplacian of the luma (Pech-Pacheco et al., ICPR 2000), in squared steps of 1/255.

    A blur lowers it and noise raises it, so it is to be held against the reference's own.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var(dtype=np.float64))


def face_sharpness(crop: Crop) -> float:
    """Fine detail over coarse detail: the standard deviation of the Laplacian over that at half the size.

    A ratio, so that contrast and light cancel out. Blur and enlargement take the fine scale away and leave the coarse
    one; noise and hard compression edges do the reverse.

    Args:
        crop: ``(size, size, 3) uint8 RGB`` in FFHQ framing; only the inner face counts.

    Returns:
        0 for a crop that is flat or nearly black; see :data:`CLEAN_SHARPNESS` for what photographs have.
    """
    size = crop.shape[0]
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[size // 5 : size * 9 // 10, size // 5 : size * 4 // 5]
    fine = np.asarray(grey, np.float32)
    coarse = cv2.resize(fine, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    above, below = (float(cv2.Laplacian(scale, cv2.CV_32F).var()) for scale in (fine, coarse))
    return round(math.sqrt((above - _ROUNDING) / below), 4) if above > _ROUNDING and below > 0 else 0.0


@lru_cache(maxsize=4)
def _pristine(path: str | None) -> tuple[Features, Features]:
    if path is None:
        with resources.as_file(resources.files("revisage.measures") / "data" / "niqe_faces.npz") as file:
            data = np.load(file)
    else:
        data = np.load(path)
    return data["mu_pris_param"].reshape(-1), data["cov_pris_param"]


def _image_features(image: Image) -> Features:
    """36 numbers of each block of 96 px: 18 at full size, 18 at half of it."""
    luma = _luma(image)
    rows, columns = luma.shape[0] // _BLOCK, luma.shape[1] // _BLOCK
    if rows == 0 or columns == 0:
        raise ValueError(f"NIQE needs at least {_BLOCK} px a side, got {luma.shape[1]}x{luma.shape[0]}")
    luma = luma[: rows * _BLOCK, : columns * _BLOCK]
    half = cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    scales = [(_normalise(luma), _BLOCK), (_normalise(half), _BLOCK // 2)]

    def block(row: int, column: int) -> list[float]:
        parts = (values[row * n : (row + 1) * n, column * n : (column + 1) * n] for values, n in scales)
        return [number for part in parts for number in _block_features(part)]

    return np.array([block(row, column) for row in range(rows) for column in range(columns)])


def _luma(image: Image) -> NDArray[np.float64]:
    """Rounded luma 16 to 235 of BT.601, as the published implementation uses."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an (H, W, 3) uint8 RGB image is needed, got {image.shape} {image.dtype}")
    return np.round(image.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255 + 16)


def _normalise(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean-subtracted, contrast-normalised coefficients (7x7 Gaussian, sigma 7/6)."""

    def blurred(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(values, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE), np.float64)

    mean = blurred(luma)
    deviation = np.sqrt(np.abs(blurred(luma * luma) - mean * mean))
    return np.asarray((luma - mean) / (deviation + 1), np.float64)


def _block_features(block: NDArray[np.float64]) -> list[float]:
    """18 numbers: shape and spread of the coefficients, and four of each of the four neighbour products."""
    shape, left, right = _fit_asymmetric(block)
    features = [shape, (left + right) / 2]
    for shift in _NEIGHBOURS:
        shape, left, right = _fit_asymmetric(block * np.roll(block, shift, axis=(0, 1)))
        offset = (right - left) * math.exp(math.lgamma(2 / shape) - math.lgamma(1 / shape))
        features += [shape, offset, left, right]
    return features


def _fit_asymmetric(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Shape and the left and right scale of an asymmetric generalised Gaussian, by matching moments."""
    flat = values.ravel()
    negative, positive = flat[flat < 0], flat[flat > 0]
    if len(negative) == 0 or len(positive) == 0:
        return math.nan, math.nan, math.nan
    left, right = math.sqrt(np.mean(negative**2)), math.sqrt(np.mean(positive**2))
    balance = left / right
    ratio = np.mean(np.abs(flat)) ** 2 / np.mean(flat**2)
    ratio *= (balance**3 + 1) * (balance + 1) / (balance**2 + 1) ** 2
    shape = float(_SHAPES[np.argmin((_RATIOS - ratio) ** 2)])
    scale = math.exp((math.lgamma(1 / shape) - math.lgamma(3 / shape)) / 2)
    return shape, left * scale, right * scale
