"""Perceptual distances of whole pictures: LPIPS, and tiles for pictures that are too large for a network."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from revisage.evaluate.fullref import check_pair, unit_tensor

__all__ = ["Lpips", "in_tiles"]

Image = NDArray[np.uint8]

_TILE = 1024
"""Side up to which a picture goes through a network as a whole (px): about 1 GB of features."""
_LEAST_SIDE = 35


class Lpips:
    """LPIPS (Zhang et al., CVPR 2018), version 0.1 on AlexNet: 0 when equal, higher is worse.

    Args:
        backbone: torchvision's AlexNet weights.
        heads: the published heads for it.

    Raises:
        ModelError: a file is not what it should be.
    """

    def __init__(self, backbone: Path, heads: Path) -> None:
        from revisage.models import load_state
        from revisage.nets import AlexNetFeatures, LPIPSHeads

        features = {key: value for key, value in load_state(backbone).items() if key.startswith("features.")}
        self._backbone, self._heads = AlexNetFeatures(), LPIPSHeads()
        self._backbone.load_state_dict(features)
        self._heads.load_state_dict(load_state(heads))
        for net in (self._backbone, self._heads):
            net.eval().requires_grad_(False)

    def __call__(self, image: Image, reference: Image) -> float:
        """The distance of two ``(H, W, 3) uint8`` RGB images.

        Raises:
            ValueError: the two differ in shape or are not uint8, or are smaller than 35 px.
        """
        import torch

        from revisage.nets import lpips

        check_pair(image, reference)
        height, width = image.shape[:2]
        if min(height, width) < _LEAST_SIDE:
            raise ValueError(f"LPIPS needs at least {_LEAST_SIDE} px a side, got {width}x{height}")
        with torch.inference_mode():
            return float(lpips(unit_tensor(image), unit_tensor(reference), self._backbone, self._heads))


def in_tiles(measure: Callable[[Image, Image], float], image: Image, reference: Image) -> float:
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
