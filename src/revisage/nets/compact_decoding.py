"""What the embedded face detector's raw outputs mean: boxes, landmarks and scores, and the crops of its second stage.

Numpy alone, so that any engine's outputs are read without torch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "CHANNELS",
    "CROP",
    "ENLARGED",
    "LYING_CHANNELS",
    "OUTPUTS",
    "STRIDES",
    "cell_centres",
    "crop_affines",
    "decode_crops",
    "decode_lying_maps",
    "decode_maps",
    "rolls",
    "unmirrored",
]

STRIDES = (8, 16, 32)
"""Px of the picture per cell of each of the first stage's maps."""
CHANNELS = 1 + 4 + 10
"""Per cell: score logit; log distances left, top, right, bottom; x, y of five points. All in units of the stride."""
LYING_CHANNELS = 1 + 2 + 1
"""Per cell of the maps of faces that lie: score logit; the centre x, y from the cell's; log side. In strides."""
CROP = 64
"""Side of the second stage's crops, px."""
ENLARGED = 1.5
"""The crop's side over the root of the proposal's area: the head with room for a wrong proposal."""
OUTPUTS = 1 + 2 + 2 + 10
"""Per crop: score logit; the box's centre x, y in crop sides; log width and height over the crop's side / 1.5; five
points x, y."""
_MAX_LOG_DISTANCE = 5.0
"""exp(5) = 148 strides is far beyond any image; the bound keeps a bad weight file from overflowing to infinity."""
_MAX_LOG_SIZE = 1.0
"""exp(1) times the proposal: a bound for bad weights."""
_MIRRORED = [1, 0, 2, 4, 3]
"""Which of the five points each becomes in a mirror."""

FloatArray = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]


def cell_centres(rows: int, columns: int, stride: int) -> FloatArray:
    """Centres of a map's cells in pixels, pixel centres at integers: (rows * columns, 2) float32 x, y."""
    x = (np.arange(columns, dtype=np.float32) + 0.5) * stride - 0.5
    y = (np.arange(rows, dtype=np.float32) + 0.5) * stride - 0.5
    grid_x, grid_y = np.meshgrid(x, y)
    return np.stack((grid_x.ravel(), grid_y.ravel()), axis=1)


def decode_maps(maps: Sequence[Floats], *, min_score: float = 0.0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Boxes, landmarks and scores of one image from the raw maps of any engine.

    Args:
        maps: one (15, H/s, W/s) or (1, 15, H/s, W/s) array per stride, in the order of `STRIDES`.
        min_score: cells below it are left out, which saves nearly all the work.

    Returns:
        Boxes (A, 4) float32 left, top, right, bottom; landmarks (A, 5, 2) float32 x, y; scores (A,) float32 in [0, 1];
        pixels of the network's input, pixel centres at integers, not cut at the border, overlapping: suppress
        duplicates afterwards.

    Raises:
        ValueError: the maps are not such maps.
    """
    raw, centres, strides, scores = _chosen(maps, CHANNELS, min_score)
    distances = np.exp(np.minimum(raw[:, 1:5], _MAX_LOG_DISTANCE)) * strides
    boxes = np.concatenate((centres - distances[:, :2], centres + distances[:, 2:]), axis=1)
    landmarks = centres[:, None] + raw[:, 5:].reshape(-1, 5, 2) * strides[:, None]
    return boxes.astype(np.float32), landmarks.astype(np.float32), scores


def decode_lying_maps(maps: Sequence[Floats], *, min_score: float = 0.0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Faces that lie on their side or stand on their head, from the raw maps of the branch that finds them.

    Args:
        maps: one (4, H/s, W/s) or (1, 4, H/s, W/s) array per stride, in the order of `STRIDES`.
        min_score: as for `decode_maps`.

    Returns:
        As `decode_maps`; boxes are squares, and landmarks NaN: it is not told how the faces lie.

    Raises:
        ValueError: the maps are not such maps.
    """
    raw, centres, strides, scores = _chosen(maps, LYING_CHANNELS, min_score)
    middles = centres + raw[:, 1:3] * strides
    half = np.exp(np.minimum(raw[:, 3:4], _MAX_LOG_DISTANCE)) * strides / 2
    boxes = np.concatenate((middles - half, middles + half), axis=1)
    return boxes.astype(np.float32), np.full((len(boxes), 5, 2), np.nan, np.float32), scores


def _chosen(
    maps: Sequence[Floats], channels: int, min_score: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Of the cells that score enough the raw values (A, channels), centres (A, 2), strides (A, 1) and scores (A,)."""
    if len(maps) != len(STRIDES):
        raise ValueError(f"expected {len(STRIDES)} maps, one per stride, got {len(maps)}")
    cells = np.concatenate([_cells(level, channels) for level in maps], axis=1)
    # tanh form of the logistic function: no overflow for large negative logits.
    scores = 0.5 + 0.5 * np.tanh(0.5 * cells[0])
    chosen = np.flatnonzero(scores >= min_score)
    centres, strides = (values[chosen] for values in _grid(tuple(level.shape[-2:] for level in maps)))
    return cells[:, chosen].T, centres, strides, scores[chosen].astype(np.float32)


def _cells(level: npt.NDArray[np.floating[Any]], channels: int) -> FloatArray:
    """A map as (channels, cells)."""
    raw = level[0] if level.ndim == 4 and level.shape[0] == 1 else level
    if raw.ndim != 3 or raw.shape[0] != channels:
        raise ValueError(f"expected a map of shape ({channels}, rows, columns), got {level.shape}")
    return raw.reshape(channels, -1).astype(np.float32, copy=False)


@functools.lru_cache(maxsize=64)
def _grid(sizes: tuple[tuple[int, int], ...]) -> tuple[FloatArray, FloatArray]:
    """Centres (A, 2) and strides (A, 1) of the cells of all maps, whose rows and columns are given."""
    centres = [cell_centres(*size, stride) for size, stride in zip(sizes, STRIDES, strict=True)]
    strides = [np.full((len(c), 1), stride, np.float32) for c, stride in zip(centres, STRIDES, strict=True)]
    return np.concatenate(centres), np.concatenate(strides)


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

    Args:
        boxes: (N, 4) left, top, right, bottom.
        angles: (N,) the roll of each face in radians.
    """
    boxes = boxes.astype(np.float64)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = np.sqrt(np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1.0))
    scales = CROP / (ENLARGED * sides)
    cosines, sines = np.cos(angles) * scales, np.sin(angles) * scales
    linear = np.stack((np.stack((cosines, sines), axis=1), np.stack((-sines, cosines), axis=1)), axis=1)
    shift = (CROP - 1) / 2 - np.einsum("nij,nj->ni", linear, centres)
    return np.concatenate((linear, shift[:, :, None]), axis=2)


def unmirrored(outputs: Floats) -> FloatArray:
    """What (N, 15) raw outputs for mirrored crops say of the crops as they were."""
    turned = outputs.astype(np.float32)
    turned[:, 1] *= -1
    turned[:, 5:] = (turned[:, 5:].reshape(-1, 5, 2)[:, _MIRRORED] * np.array([-1, 1], np.float32)).reshape(-1, 10)
    return turned


def decode_crops(outputs: Floats, affines: Floats) -> tuple[FloatArray, FloatArray, FloatArray]:
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
