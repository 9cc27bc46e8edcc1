"""Measures of an image against its reference: PSNR, SSIM, VGGD."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from revisage.nets import VGG19Features

__all__ = ["check_pair", "psnr", "ssim", "unit_tensor", "vggd"]

Image = NDArray[np.uint8]
_MARGIN = 5
"""Half of SSIM's window (px)."""


def psnr(image: Image, reference: Image) -> float:
    """Peak signal-to-noise ratio in dB of ``(H, W, 3) uint8`` RGB images; infinite when they are equal.

    Raises:
        ValueError: the two differ in shape or are not uint8.
    """
    check_pair(image, reference)
    error = cv2.norm(image, reference, cv2.NORM_L2SQR) / image.size
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


def ssim(image: Image, reference: Image) -> float:
    """Structural similarity, -1 to 1, mean over RGB channels (Wang et al., IEEE TIP 2004): Gaussian window of 11 px and
    sigma 1.5, population covariance, positions whose window lies inside the picture.

    The value of scikit-image's ``structural_similarity`` with these settings, in a fifth of its time.

    Raises:
        ValueError: the two differ in shape or are not uint8, or are smaller than the window.
    """
    check_pair(image, reference)
    height, width = image.shape[:2]
    if min(height, width) < 2 * _MARGIN + 1:
        raise ValueError(f"SSIM needs at least {2 * _MARGIN + 1} px a side, got {width}x{height}")
    # Rounding may carry equal pictures a hair above 1.
    return min(1.0, float(np.mean([_plane_ssim(image[..., c], reference[..., c]) for c in range(3)])))


def _plane_ssim(image: Image, reference: Image) -> float:
    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        blurred = cv2.GaussianBlur(values, (2 * _MARGIN + 1, 2 * _MARGIN + 1), 1.5)
        inside: NDArray[np.float32] = blurred[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        return inside

    # Variances are differences of squares: about zero, and not 0 to 255, they keep their digits in float32.
    x, y = (plane.astype(np.float32) - np.float32(127.5) for plane in (image, reference))
    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x) + mean(y * y) - mean_x * mean_x - mean_y * mean_y
    covariance = mean(x * y) - mean_x * mean_y
    luma_x, luma_y = mean_x + np.float32(127.5), mean_y + np.float32(127.5)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    structure = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * luma_x * luma_y + c1) / (luma_x * luma_x + luma_y * luma_y + c1)
    return float(np.mean(luminance * structure, dtype=np.float64))


def vggd(images: list[Image], references: list[Image], weights: Path) -> list[float]:
    """Perceptual distance of each image to its reference: VGG19 features at relu1_2, relu2_2 and relu3_1,
    unit-normalised over channels, mean squared difference, summed without weights.

    Close in form to LPIPS (Zhang et al., 2018) but without its learnt heads; the two are not comparable.

    Args:
        images: ``(H, W, 3) uint8`` RGB.
        references: the same number, each of its image's shape.
        weights: the normalised VGG19 up to conv3_1 as safetensors.

    Raises:
        ValueError: a pair differs in shape, or the lists in length.
    """
    import torch

    from revisage.train import feature_distance

    if len(images) != len(references):
        raise ValueError(f"{len(images)} images but {len(references)} references")
    net = _features(str(weights))
    values = []
    for image, reference in zip(images, references, strict=True):
        check_pair(image, reference)
        with torch.inference_mode():
            ours, theirs = (net(unit_tensor(side)) for side in (image, reference))
            values.append(float(feature_distance(ours, theirs)))
    return values


@lru_cache(maxsize=1)
def _features(weights: str) -> VGG19Features:
    from revisage.models import load_state
    from revisage.nets import VGG19Features

    net = VGG19Features()
    net.load_state_dict(load_state(weights))
    return net.eval().requires_grad_(False)


def unit_tensor(image: Image) -> Tensor:
    """``(H, W, 3) uint8`` to ``(1, 3, H, W) float32 [0, 1]``."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def check_pair(image: Image, reference: Image) -> None:
    """Raise ValueError unless both are ``(H, W, 3) uint8`` of one size."""
    if image.shape != reference.shape:
        raise ValueError(f"image is {image.shape}, its reference {reference.shape}: they must be equal in size")
    if image.dtype != np.uint8 or reference.dtype != np.uint8:
        raise ValueError(f"images must be uint8, got {image.dtype} and {reference.dtype}")
