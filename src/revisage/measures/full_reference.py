"""Measures of an image against its reference: PSNR, SSIM, MS-SSIM, GMSD, colour shift, VGGD, LPIPS."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage import models, nets
from revisage.core import Image, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Lpips", "Vggd", "colour_shift", "feature_distance", "gmsd", "in_tiles", "ms_ssim", "psnr", "ssim"]

Comparing = Callable[[Image, Image], float]

_MARGIN = 5
"""Half of SSIM's window (px)."""
_LEAST_MS_SSIM = 161
"""Side whose sixteenth part still holds one window of 11 px."""
_LEAST_GMSD = 8
_LEAST_LPIPS = 35
"""Px a side that GMSD and the backbone of LPIPS need, which halve a picture as they go."""

_TILE = 1024
"""Side up to which a picture goes through a network as a whole (px): about 1 GB of features."""


def psnr(image: Image, reference: Image) -> float:
    """Peak signal-to-noise ratio in dB of ``(H, W, 3) uint8`` RGB images; infinite when they are equal.

    Raises:
        ValueError: the two differ in shape or are not uint8.
    """
    _check_pair(image, reference)
    error = cv2.norm(image, reference, cv2.NORM_L2SQR) / image.size
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


def ssim(image: Image, reference: Image) -> float:
    """Structural similarity, -1 to 1, mean over RGB channels (Wang et al., IEEE TIP 2004): Gaussian window of 11 px and
    sigma 1.5, population covariance, positions whose window lies inside the picture.

    The value of scikit-image's ``structural_similarity`` with these settings, in a fifth of its time.

    Raises:
        ValueError: the two differ in shape or are not uint8, or are smaller than the window.
    """
    _check_pair(image, reference)
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


def ms_ssim(image: Image, reference: Image) -> float:
    """Multi-scale structural similarity over five scales, 0 to 1 (Wang, Simoncelli, Bovik, Asilomar 2003), by piq.

    Args:
        image, reference: ``(H, W, 3) uint8`` RGB, at least 161 px a side.

    Raises:
        ValueError: the two differ in shape or are not uint8, or are too small.
        MissingExtraError: piq is not installed.
    """
    _check_pair(image, reference)
    check_sides(image, _LEAST_MS_SSIM, "MS-SSIM")
    piq = piq_for("MS-SSIM")
    return float(piq.multi_scale_ssim(unit_tensor(image), unit_tensor(reference), data_range=1.0))


def gmsd(image: Image, reference: Image) -> float:
    """Gradient magnitude similarity deviation, 0 when equal (Xue et al., IEEE TIP 2014), by piq, on its luma.

    Args:
        image, reference: ``(H, W, 3) uint8`` RGB, at least 8 px a side.

    Raises:
        ValueError: the two differ in shape or are not uint8, or are too small.
        MissingExtraError: piq is not installed.
    """
    _check_pair(image, reference)
    check_sides(image, _LEAST_GMSD, "GMSD")
    piq = piq_for("GMSD")
    return float(piq.gmsd(unit_tensor(image), unit_tensor(reference), data_range=1.0))


def colour_shift(image: Image, reference: Image) -> float:
    """Distance of the mean colours, CIEDE2000 (Sharma, Wu, Dalal, 2005): below 1 hardly anybody sees it.

    The mean is taken in CIELAB (sRGB, D65), so detail and noise do not count, a cast and a change of brightness do.

    Raises:
        ValueError: the two differ in shape or are not uint8.
        MissingExtraError: scikit-image is not installed.
    """
    _check_pair(image, reference)
    try:
        from skimage.color import deltaE_ciede2000
    except ImportError:
        raise MissingExtraError("colour shift", "eval") from None
    return float(deltaE_ciede2000(_mean_lab(image), _mean_lab(reference)))


def _mean_lab(image: Image) -> NDArray[np.float64]:
    lab = cv2.cvtColor(image.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
    mean: NDArray[np.float64] = lab.mean(axis=(0, 1), dtype=np.float64)
    return mean


def feature_distance(
    features: Sequence[Tensor], references: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Tensor:
    """What VGGD measures and the perceptual loss minimises: features normalised to unit length over channels (as LPIPS
    does), mean squared difference, summed over layers.

    Args:
        features: a layer each, ``(N, C, H, W) float32``.
        references: the same shapes.
        weights: of the layers; all 1 when None.

    Returns:
        One number per image, ``(N,) float32``. The square is summed over channels and averaged over positions.
    """
    from torch.nn import functional

    total = features[0].new_zeros(features[0].shape[0]).float()
    for feature, reference, weight in zip(features, references, weights or [1.0] * len(features), strict=True):
        difference = functional.normalize(feature.float(), dim=1) - functional.normalize(reference.float(), dim=1)
        total = total + weight * difference.square().sum(dim=1).mean(dim=(1, 2))
    return total


class Vggd:
    """Perceptual distance: VGG19 features at relu1_2, relu2_2 and relu3_1, unit-normalised over channels, mean squared
    difference, summed without weights.

    Close in form to LPIPS (Zhang et al., 2018) but without its learnt heads; the two are not comparable.

    Args:
        weights: the normalised VGG19 up to conv3_1.

    Raises:
        ModelError: the file is not what it should be.
    """

    def __init__(self, weights: Path) -> None:
        self._net = nets.VGG19Features()
        self._net.load_state_dict(models.load_state(weights))
        self._net.eval().requires_grad_(False)

    def __call__(self, image: Image, reference: Image) -> float:
        """The distance of two ``(H, W, 3) uint8`` RGB images.

        Raises:
            ValueError: the two differ in shape or are not uint8.
        """
        import torch

        _check_pair(image, reference)
        with torch.inference_mode():
            return float(feature_distance(self._net(unit_tensor(image)), self._net(unit_tensor(reference))))


class Lpips:
    """LPIPS (Zhang et al., CVPR 2018), version 0.1 on AlexNet: 0 when equal, higher is worse.

    Args:
        backbone: torchvision's AlexNet weights.
        heads: the published heads for it.

    Raises:
        ModelError: a file is not what it should be.
    """

    def __init__(self, backbone: Path, heads: Path) -> None:
        features = {key: value for key, value in models.load_state(backbone).items() if key.startswith("features.")}
        self._backbone, self._heads = nets.AlexNetFeatures(), nets.LPIPSHeads()
        self._backbone.load_state_dict(features)
        self._heads.load_state_dict(models.load_state(heads))
        for net in (self._backbone, self._heads):
            net.eval().requires_grad_(False)

    def __call__(self, image: Image, reference: Image) -> float:
        """The distance of two ``(H, W, 3) uint8`` RGB images.

        Raises:
            ValueError: the two differ in shape or are not uint8, or are smaller than 35 px.
        """
        import torch

        _check_pair(image, reference)
        check_sides(image, _LEAST_LPIPS, "LPIPS")
        with torch.inference_mode():
            return float(nets.lpips(unit_tensor(image), unit_tensor(reference), self._backbone, self._heads))


def in_tiles(measure: Comparing, image: Image, reference: Image) -> float:
    """A measure of two pictures; where a side is longer than 1024 px the mean over equal tiles, weighted by area."""
    height, width = image.shape[:2]
    rows, columns = _edges(height), _edges(width)
    total = 0.0
    for (top, bottom), (left, right) in itertools.product(itertools.pairwise(rows), itertools.pairwise(columns)):
        value = measure(image[top:bottom, left:right], reference[top:bottom, left:right])
        total += value * (bottom - top) * (right - left)
    return total / (height * width)


def _edges(side: int) -> list[int]:
    tiles = max(1, -(-side // _TILE))
    return [round(side * number / tiles) for number in range(tiles + 1)]


def check_sides(image: Image, least: int, measure: str) -> None:
    """Raise ValueError for an image with a side of fewer than ``least`` px."""
    height, width = image.shape[:2]
    if min(height, width) < least:
        raise ValueError(f"{measure} needs at least {least} px a side, got {width}x{height}")


def unit_tensor(image: Image) -> Tensor:
    """``(H, W, 3) uint8`` to ``(1, 3, H, W) float32 [0, 1]``."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def _check_pair(image: Image, reference: Image) -> None:
    """Raise ValueError unless both are ``(H, W, 3) uint8`` of one size."""
    if image.shape != reference.shape:
        raise ValueError(f"image is {image.shape}, its reference {reference.shape}: they must be equal in size")
    if image.dtype != np.uint8 or reference.dtype != np.uint8:
        raise ValueError(f"images must be uint8, got {image.dtype} and {reference.dtype}")


def piq_for(feature: str) -> Any:
    """The package piq. Raises MissingExtraError where it is not installed."""
    try:
        import piq
    except ImportError:
        raise MissingExtraError(feature, "eval") from None
    return piq
