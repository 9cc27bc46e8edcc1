"""The losses of the restorer that need no adversary: pixels, structure, pyramid, perception, style."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "LATTICE_COLUMNS",
    "LATTICE_MEAN",
    "LATTICE_ROWS",
    "charbonnier",
    "feature_l1",
    "gram",
    "gram_distance",
    "lattice_gap",
    "lattice_parts",
    "pyramid_loss",
    "random_windows",
    "ssim",
    "window_pair",
]

#: The four pixels of a block, row by row: what makes its rows differ, and what its columns.
LATTICE_ROWS, LATTICE_COLUMNS = (0.25, 0.25, -0.25, -0.25), (0.25, -0.25, 0.25, -0.25)
#: Side of the mean that tells a lattice from texture, in blocks: texture has either sign and cancels out.
LATTICE_MEAN = 17


def charbonnier(prediction: Tensor, target: Tensor, *, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(d^2 + epsilon^2): L1 that is smooth at zero (Charbonnier et al., ICIP 1994)."""
    return torch.sqrt((prediction - target).square() + epsilon * epsilon).mean()


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity of each image, (N,): -1 to 1.

    Wang et al. (2004) with the 11x11 Gaussian window of sigma 1.5 on [0, 1] RGB (N, 3, H, W), valid positions alone.
    """
    # One pass along each axis over everything that is to be averaged: a quarter of the time of a window in two axes.
    axis = torch.exp(-0.5 * ((torch.arange(11.0, device=images.device) - 5) / 1.5).square())
    parts = torch.cat([images, targets, images * images, targets * targets, images * targets], dim=1)
    kernel = (axis / axis.sum()).expand(parts.shape[1], 1, 1, 11)
    parts = F.conv2d(parts, kernel, groups=parts.shape[1])
    parts = F.conv2d(parts, kernel.transpose(2, 3), groups=parts.shape[1])
    mean_i, mean_t, square_i, square_t, product = parts.chunk(5, dim=1)
    variances = square_i - mean_i.square() + square_t - mean_t.square()
    contrast = (2 * (product - mean_i * mean_t) + 0.03**2) / (variances + 0.03**2)
    luminance = (2 * mean_i * mean_t + 0.01**2) / (mean_i.square() + mean_t.square() + 0.01**2)
    return (luminance * contrast).mean(dim=(1, 2, 3))


def lattice_gap(images: Tensor, targets: Tensor) -> Tensor:
    """Mean amplitude of a steady difference between the rows, and the columns, of each 2x2 block, beyond the targets'.

    A net that writes such blocks and learns from a perceptual loss sets each second row a little brighter, by the same
    sign everywhere (`revisage.train.lattice`). Means over 17 blocks, or all where there are fewer, tell that from
    texture, which has either sign. (N, 3, H, W) with H and W even; in the units of the images.
    """
    parts = lattice_parts(F.pixel_unshuffle(images - targets, 2))
    return F.avg_pool2d(parts, min(LATTICE_MEAN, *parts.shape[2:]), stride=8).abs().mean()


def lattice_parts(blocks: Tensor) -> Tensor:
    """What makes the rows of 2x2 blocks differ, and what their columns: (N, 12, h, w), colour by colour, as a
    pixel-shuffle takes them, to (N, 6, h, w)."""
    signs = blocks.new_tensor([LATTICE_ROWS, LATTICE_COLUMNS])
    return torch.einsum("ncphw,ap->nachw", blocks.unflatten(1, (3, 4)), signs).flatten(1, 2)


def pyramid_loss(pyramid: Sequence[Tensor], target: Tensor) -> Tensor:
    """GFPGAN's pyramid restoration loss: L1 of each RGB against the target, reduced by area to its size; summed."""
    total = target.new_zeros(())
    for prediction in pyramid:
        target = F.adaptive_avg_pool2d(target, (prediction.shape[-2], prediction.shape[-1]))
        total = total + (prediction.float() - target).abs().mean()
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
