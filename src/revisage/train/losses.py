"""The losses of the restorer that need no adversary: pixels, pyramid, perception, style."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "charbonnier",
    "feature_distance",
    "feature_l1",
    "gram",
    "gram_distance",
    "pyramid_loss",
    "random_windows",
    "window_pair",
]


def charbonnier(prediction: Tensor, target: Tensor, *, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(d^2 + epsilon^2): L1 that is smooth at zero (Charbonnier et al., ICIP 1994)."""
    return torch.sqrt((prediction - target).square() + epsilon * epsilon).mean()


def pyramid_loss(pyramid: Sequence[Tensor], target: Tensor) -> Tensor:
    """GFPGAN's pyramid restoration loss: L1 of each RGB against the target, reduced by area to its size; summed."""
    total = target.new_zeros(())
    for prediction in pyramid:
        target = F.adaptive_avg_pool2d(target, (prediction.shape[-2], prediction.shape[-1]))
        total = total + (prediction.float() - target).abs().mean()
    return total


def feature_distance(
    features: Sequence[Tensor], references: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Tensor:
    """Features normalised to unit length over channels (as LPIPS does), mean squared difference, summed over layers.

    Returns one number per image, (N,) float32. The square is summed over channels and averaged over positions.
    weights: of the layers; all 1 when None.
    """
    total = torch.zeros(features[0].shape[0], device=features[0].device)
    for feature, reference, weight in _layers(features, references, weights):
        difference = F.normalize(feature.float(), dim=1) - F.normalize(reference.float(), dim=1)
        total = total + weight * difference.square().sum(dim=1).mean(dim=(1, 2))
    return total


def feature_l1(
    features: Sequence[Tensor], references: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Tensor:
    """Mean absolute difference of each layer's features, summed over layers: GFP-GAN's perceptual loss."""
    distances = [
        weight * (feature.float() - reference.float()).abs().mean()
        for feature, reference, weight in _layers(features, references, weights)
    ]
    return torch.stack(distances).sum()


def gram(features: Tensor) -> Tensor:
    """Which channels go together: (N, C, H, W) to (N, C, C) float32, divided by C * H * W (Gatys et al., CVPR 2016)."""
    flat = features.float().flatten(2)
    # Half precision would overflow in sums over whole maps.
    with torch.autocast(features.device.type, enabled=False):
        return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def gram_distance(
    features: Sequence[Tensor], references: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Tensor:
    """Mean absolute difference of the Gram matrices, summed over layers: a style loss."""
    distances = [
        weight * (gram(feature) - gram(reference)).abs().mean()
        for feature, reference, weight in _layers(features, references, weights)
    ]
    return torch.stack(distances).sum()


def _layers(
    features: Sequence[Tensor], references: Sequence[Tensor], weights: Sequence[float] | None
) -> Iterator[tuple[Tensor, Tensor, float]]:
    return zip(features, references, weights or [1.0] * len(features), strict=True)


def random_windows(batch: int, size: int, window: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """Top-left corners, one per image, of windows anywhere inside a size x size image.

    Odd corners too: the pooling of the perceptual net must not always meet the same phase of the pixel-shuffle.
    """
    corners = torch.randint(size - window + 1, (batch, 2), generator=generator)
    return [(int(top), int(left)) for top, left in corners]


def window_pair(
    images: Tensor, others: Tensor, corners: Sequence[tuple[int, int]], window: int
) -> tuple[Tensor, Tensor]:
    """The same windows out of two batches of images, each (N, 3, window, window)."""

    def cut(batch: Tensor) -> Tensor:
        return torch.stack(
            [image[:, t : t + window, left : left + window] for image, (t, left) in zip(batch, corners, strict=True)]
        )

    return cut(images), cut(others)
