"""Measures of an image against its reference: PSNR, SSIM, VGGD."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from revisage.core.errors import MissingExtraError

if TYPE_CHECKING:
    from revisage.nets.vgg import VGG19Features

__all__ = ["psnr", "ssim", "vggd"]

Image = NDArray[np.uint8]


def psnr(image: Image, reference: Image) -> float:
    """Peak signal-to-noise ratio in dB of ``(H, W, 3) uint8`` RGB images; infinite when they are equal.

    Raises:
        ValueError: the two differ in shape or are not uint8.
    """
    _check_pair(image, reference)
    error = np.mean(np.square(image.astype(np.float64) - reference))
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


def ssim(image: Image, reference: Image) -> float:
    """Structural similarity, -1 to 1, mean over RGB channels: Gaussian window, sigma 1.5 (Wang et al., 2004).

    Raises:
        ValueError: the two differ in shape or are not uint8.
        MissingExtraError: scikit-image is not installed.
    """
    _check_pair(image, reference)
    try:
        from skimage.metrics import structural_similarity
    except ImportError:
        raise MissingExtraError("SSIM", "eval") from None
    value = structural_similarity(
        image,
        reference,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)


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

    from revisage.train.losses import feature_distance
    from revisage.train.validation import to_tensor

    if len(images) != len(references):
        raise ValueError(f"{len(images)} images but {len(references)} references")
    net = _features(str(weights))
    values = []
    for image, reference in zip(images, references, strict=True):
        _check_pair(image, reference)
        with torch.inference_mode():
            ours, theirs = (net(to_tensor(side) / 2 + 0.5) for side in ([image], [reference]))
            values.append(float(feature_distance(ours, theirs)))
    return values


@lru_cache(maxsize=1)
def _features(weights: str) -> VGG19Features:
    from revisage.train.validation import load_vgg

    return load_vgg(Path(weights))


def _check_pair(image: Image, reference: Image) -> None:
    if image.shape != reference.shape:
        raise ValueError(f"image is {image.shape}, its reference {reference.shape}: they must be equal in size")
    if image.dtype != np.uint8 or reference.dtype != np.uint8:
        raise ValueError(f"images must be uint8, got {image.dtype} and {reference.dtype}")
