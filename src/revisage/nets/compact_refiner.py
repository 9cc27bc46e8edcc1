"""The embedded face detector's second stage: a closer look at each proposal of the first.

A cascade after MTCNN (Zhang et al. 2016, arXiv 1604.02878): the first stage, `CompactDetector`, proposes faces at a low
score; this network sees each proposal upright in a small crop and gives a new score, box and landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from revisage.nets.compact_blocks import ResidualBlock, unit

__all__ = [
    "CROP",
    "ENLARGED",
    "OUTPUTS",
    "REFINER_WIDTHS",
    "CompactRefiner",
    "crop_affines",
    "decode_crops",
    "rolls",
    "unmirrored",
]

CROP = 64
"""Side of the crops, px."""
# The crop's side over the root of the proposal's area: the head with room for a wrong proposal.
ENLARGED = 1.5
# Score logit; the box's centre x, y in crop sides; log width and height over the crop's side / 1.5; five points x, y.
OUTPUTS = 1 + 2 + 2 + 10
REFINER_WIDTHS = (16, 32, 48, 56)
_MIRRORED = [1, 0, 2, 4, 3]
# exp(1) times the proposal: a bound for bad weights.
_MAX_LOG_SIZE = 1.0

Floats = npt.NDArray[np.floating[Any]]


class CompactRefiner(nn.Module):
    """Looks at upright crops of proposals.

    `forward` takes (N, 3, 64, 64) float32 RGB in [-1, 1], the crops of `crop_affines`, and gives (N, 15);
    `decode_crops` turns those into boxes and landmarks of the image.
    """

    def __init__(self, widths: Sequence[int] = REFINER_WIDTHS) -> None:
        """widths: channels at 32, 16, 8 and 4 px. Raises ValueError when they are not four."""
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"a refiner has four widths, got {len(widths)}")
        first, second, third, last = widths
        self.features = nn.Sequential(
            unit(3, first, stride=2),
            unit(first, second, stride=2),
            ResidualBlock(second),
            unit(second, third, stride=2),
            ResidualBlock(third),
            unit(third, last, stride=2),
        )
        self.out = nn.Linear(last * (CROP // 16) ** 2, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.features(x).flatten(1))
        return out


def rolls(landmarks: Floats) -> npt.NDArray[np.float64]:
    """How far faces lean, clockwise in radians: (N, 5, 2) landmarks to (N,).

    From the eyes and from the line to the mouth together: in profile the eyes alone say nothing.
    """
    points = landmarks.astype(np.float64)
    eyes = points[:, 1] - points[:, 0]
    down = (points[:, 3:].sum(axis=1) - points[:, :2].sum(axis=1)) / 2
    return np.asarray(np.arctan2(eyes[:, 1] - down[:, 0], eyes[:, 0] + down[:, 1]))


def crop_affines(boxes: Floats, angles: Floats) -> npt.NDArray[np.float64]:
    """Similarities from the image to upright crops, pixel centres at integers: (N, 2, 3).

    boxes: (N, 4) left, top, right, bottom. angles: (N,) the roll of each face in radians.
    """
    boxes = boxes.astype(np.float64)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = np.sqrt(np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1.0))
    scales = CROP / (ENLARGED * sides)
    cosines, sines = np.cos(angles) * scales, np.sin(angles) * scales
    linear = np.stack((np.stack((cosines, sines), axis=1), np.stack((-sines, cosines), axis=1)), axis=1)
    shift = (CROP - 1) / 2 - np.einsum("nij,nj->ni", linear, centres)
    return np.concatenate((linear, shift[:, :, None]), axis=2)


def unmirrored(outputs: Floats) -> npt.NDArray[np.float32]:
    """What (N, 15) raw outputs for mirrored crops say of the crops as they were."""
    turned = outputs.astype(np.float32)
    turned[:, 1] *= -1
    turned[:, 5:] = (turned[:, 5:].reshape(-1, 5, 2)[:, _MIRRORED] * np.array([-1, 1], np.float32)).reshape(-1, 10)
    return turned


def decode_crops(
    outputs: Floats, affines: Floats
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Boxes (N, 4), landmarks (N, 5, 2) and scores (N,), float32 in the image's pixels, from (N, 15) raw outputs.

    affines: (N, 2, 3) of `crop_affines`. An upright face's box is turned with the crop like the ellipse in it.
    """
    raw = outputs.astype(np.float64)
    linear = affines[:, :, :2].astype(np.float64)
    inverse = np.linalg.inv(linear)
    middle = (CROP - 1) / 2
    local = np.concatenate((raw[:, None, 1:3], raw[:, 5:].reshape(-1, 5, 2)), axis=1) * CROP + middle
    points = np.einsum("nij,nkj->nki", inverse, local - affines[:, None, :, 2])
    half = np.exp(np.clip(raw[:, 3:5], -_MAX_LOG_SIZE, _MAX_LOG_SIZE)) * (CROP / ENLARGED / 2)
    half = np.sqrt(np.einsum("nij,nj->ni", inverse**2, half**2))
    boxes = np.concatenate((points[:, 0] - half, points[:, 0] + half), axis=1)
    scores = 0.5 + 0.5 * np.tanh(0.5 * raw[:, 0])
    return boxes.astype(np.float32), points[:, 1:].astype(np.float32), scores.astype(np.float32)
