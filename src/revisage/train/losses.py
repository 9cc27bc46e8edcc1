"""The losses of the restorer: pixels, pyramid, perception and, late, an adversary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["charbonnier", "feature_distance", "pyramid_loss", "random_windows", "window_pair"]


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


def feature_distance(features: Sequence[Tensor], references: Sequence[Tensor]) -> Tensor:
    """Features normalised to unit length over channels (as LPIPS does), mean squared difference, summed over layers.

    Returns one number per image, (N,) float32. The square is summed over channels and averaged over positions.
    """
    total = torch.zeros(features[0].shape[0], device=features[0].device)
    for feature, reference in zip(features, references, strict=True):
        difference = F.normalize(feature.float(), dim=1) - F.normalize(reference.float(), dim=1)
        total = total + difference.square().sum(dim=1).mean(dim=(1, 2))
    return total


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
