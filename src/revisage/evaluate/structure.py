"""Measures of structure and colour: MS-SSIM, GMSD, BRISQUE, sharpness, colour shift."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import MissingExtraError
from revisage.evaluate.fullref import check_pair, unit_tensor

__all__ = ["BRISQUE_FILE", "brisque", "brisque_weights", "colour_shift", "gmsd", "ms_ssim", "sharpness"]

Image = NDArray[np.uint8]

BRISQUE_FILE = "brisque_svm_weights.pt"
_LEAST_MS_SSIM = 161
"""Side whose sixteenth part still holds one window of 11 px."""

_LEAST_GMSD, _LEAST_BRISQUE = 8, 16


def ms_ssim(image: Image, reference: Image) -> float:
    """Multi-scale structural similarity over five scales, 0 to 1 (Wang, Simoncelli, Bovik, Asilomar 2003), by piq.

    Args:
        image, reference: ``(H, W, 3) uint8`` RGB, at least 161 px a side.

    Raises:
        ValueError: the two differ in shape or are not uint8, or are too small.
        MissingExtraError: piq is not installed.
    """
    check_pair(image, reference)
    _check_sides(image, _LEAST_MS_SSIM, "MS-SSIM")
    piq = _piq("MS-SSIM")
    return float(piq.multi_scale_ssim(unit_tensor(image), unit_tensor(reference), data_range=1.0))


def gmsd(image: Image, reference: Image) -> float:
    """Gradient magnitude similarity deviation, 0 when equal (Xue et al., IEEE TIP 2014), by piq, on its luma.

    Args:
        image, reference: ``(H, W, 3) uint8`` RGB, at least 8 px a side.

    Raises:
        ValueError: the two differ in shape or are not uint8, or are too small.
        MissingExtraError: piq is not installed.
    """
    check_pair(image, reference)
    _check_sides(image, _LEAST_GMSD, "GMSD")
    piq = _piq("GMSD")
    return float(piq.gmsd(unit_tensor(image), unit_tensor(reference), data_range=1.0))


def _check_sides(image: Image, least: int, measure: str) -> None:
    height, width = image.shape[:2]
    if min(height, width) < least:
        raise ValueError(f"{measure} needs at least {least} px a side, got {width}x{height}")


def brisque(image: Image) -> float:
    """BRISQUE, about 0 (best) to 100, without a reference (Mittal, Moorthy, Bovik, IEEE TIP 2012), by piq.

    Call it only where :func:`brisque_weights` finds the file: piq would fetch it by itself otherwise.

    Args:
        image: ``(H, W, 3) uint8`` RGB, at least 16 px a side.

    Raises:
        ValueError: the image is too small or flat.
        MissingExtraError: piq is not installed.
    """
    _check_sides(image, _LEAST_BRISQUE, "BRISQUE")
    if image.min() == image.max():
        raise ValueError("BRISQUE is not defined for images without any texture")
    piq = _piq("BRISQUE")
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


def colour_shift(image: Image, reference: Image) -> float:
    """Distance of the mean colours, CIEDE2000 (Sharma, Wu, Dalal, 2005): below 1 hardly anybody sees it.

    The mean is taken in CIELAB (sRGB, D65), so detail and noise do not count, a cast and a change of brightness do.

    Raises:
        ValueError: the two differ in shape or are not uint8.
        MissingExtraError: scikit-image is not installed.
    """
    check_pair(image, reference)
    try:
        from skimage.color import deltaE_ciede2000
    except ImportError:
        raise MissingExtraError("colour shift", "eval") from None
    return float(deltaE_ciede2000(_mean_lab(image), _mean_lab(reference)))


def _mean_lab(image: Image) -> NDArray[np.float64]:
    lab = cv2.cvtColor(image.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
    mean: NDArray[np.float64] = lab.mean(axis=(0, 1), dtype=np.float64)
    return mean


def _piq(feature: str):  # type: ignore[no-untyped-def]
    try:
        import piq
    except ImportError:
        raise MissingExtraError(feature, "eval") from None
    return piq
