"""Detail of a person's other photo for their restored face, where the two agree.

A restorer knows what is coarse from the picture and makes up what is fine. A sharp photo of the same person has it: it
is bent into the face's pose, by a thin-plate spline between dense landmarks (Bookstein, 1989) and then by optical flow,
and gives its finest bands. How much of each is taken follows from how well the two correlate around a pixel in the
bands that both must know. Shape, expression, gaze, light and colours stay those of the restored face: nothing coarser
than 4 px of a crop of 256 px is touched, and what does not agree is left as it is.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Crop
from revisage.faces import landmark_mask
from revisage.people.guide_shares import Guide, facing, lost_detail, shares
from revisage.temporal import Flow, FlowEstimator, warp

__all__ = ["with_detail"]

FloatArray = NDArray[np.float32]

_SIDE = 256
"""Side of the crops that lengths in px below are stated for; they grow with others."""

_EDGES = (0.0, 1.0, 2.0, 4.0)
"""Sigmas of the Gaussians between which the bands lie (px), the finest first."""
_AGREES = (1.0, 6.0, 8.0)
"""Sigmas of the band that is compared, and of the window that it is compared in (px)."""
_FLAT = 1.0
"""Variance of a band (1/255 squared) below which nothing can be compared."""

_FLOW_SOFTNESS, _FLOW_AREA, _FLOW_CONTRAST = 1.0, 12.0, 40.0
"""Flow sees pictures softened by the first sigma (px), their light evened out over the second, at this contrast."""
_FLOW_SMOOTH, _FARTHEST = 2.0, 5.0
"""Sigma that flow is smoothed by, and what it corrects the spline by at most (px): landmarks are better than that."""

_CONTRAST = (0.5, 1.5)
"""What a guide's bands may be multiplied by, to have the contrast of the face's light."""
_LOUDEST = 1.5
"""Mixed bands that do not correlate get weaker: so much they may be raised again."""

_KNOTS = 32
"""Points per side at which the spline is computed; between them it is smooth."""
_STIFFNESS = 1e-3
"""Of the spline: landmarks err by a px or so."""


def with_detail(
    restored: Crop,
    shown: Crop,
    landmarks: FloatArray,
    pose: FloatArray,
    guide: Guide,
    estimate: FlowEstimator,
    five: FloatArray,
    wanted: float = 1.0,
) -> Crop:
    """A restored face with the guide's detail where it agrees.

    Args:
        restored: ``(size, size, 3) uint8 RGB`` in FFHQ framing; not changed.
        shown: what the restorer was shown of it, alike in size.
        landmarks, pose: read of ``restored``.
        guide: of the same size.
        estimate: finds the flow.
        five: ``(5, 2) float32``, the five landmarks in the crop; outside of the face nothing changes.
        wanted: part of what is taken otherwise, 0 to 1.

    Returns:
        A new crop; ``restored`` itself where the head is turned too far from the guide's, or ``wanted`` is 0.
    """
    most = wanted * facing(pose, guide)
    if most == 0:
        return restored
    size = len(restored)
    unit = size / _SIDE
    here, bent = _light(restored), _bent(_light(restored), _light(guide.crop), landmarks, guide, estimate, unit)
    mine, theirs = _bands(here, unit), _bands(bent, unit)
    agreement, contrast = _agreement(here, bent, unit)
    mask = landmark_mask(five, size) * np.float32(most)
    parts = shares(agreement, mask, lost_detail(_light(shown), here, mask, unit))
    change = np.zeros_like(here)
    for own, other, share in zip(mine, theirs, parts, strict=True):
        change += _mixed(own, other * contrast, share, unit) - own
    return np.clip(np.rint(restored + change[..., None]), 0, 255).astype(np.uint8)


def _light(crop: Crop) -> FloatArray:
    return cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _soft(picture: FloatArray, sigma: float) -> FloatArray:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32) if sigma else picture


def _bands(picture: FloatArray, unit: float) -> list[FloatArray]:
    levels = [_soft(picture, sigma * unit) for sigma in _EDGES]
    return [finer - coarser for finer, coarser in itertools.pairwise(levels)]


def _bent(
    here: FloatArray, other: FloatArray, landmarks: FloatArray, guide: Guide, estimate: FlowEstimator, unit: float
) -> FloatArray:
    """The guide's light as this face would show it."""
    spline = _spline(landmarks, guide.landmarks, len(here))
    near = warp(other, spline, interpolation=cv2.INTER_CUBIC)
    flow = estimate(_evened(here, unit), _evened(near, unit))
    length = np.sqrt(np.square(flow).sum(axis=2, keepdims=True))
    flow = cv2.GaussianBlur(
        flow * np.minimum(1, _FARTHEST * unit / np.maximum(length, 1e-6)), (0, 0), _FLOW_SMOOTH * unit
    )
    return warp(other, flow + warp(spline, flow), interpolation=cv2.INTER_CUBIC)


def _evened(light: FloatArray, unit: float) -> NDArray[np.uint8]:
    """A picture for the flow, without the light that the two faces do not share."""
    light = _soft(light, _FLOW_SOFTNESS * unit)
    middle = _soft(light, _FLOW_AREA * unit)
    spread = np.sqrt(_soft((light - middle) ** 2, _FLOW_AREA * unit) + 9)
    return np.clip((light - middle) / spread * _FLOW_CONTRAST + 128, 0, 255).astype(np.uint8)


def _spline(here: FloatArray, there: FloatArray, size: int) -> Flow:
    """The flow of the thin-plate spline that takes the landmarks ``here`` to those ``there``."""
    middle = (size - 1) / 2
    knots, wanted = ((np.asarray(points, np.float64) - middle) / middle for points in (here, there))
    count = len(knots)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _bending(knots, knots) + _STIFFNESS * np.eye(count)
    system[:count, count:] = np.column_stack((np.ones(count), knots))
    system[count:, :count] = system[:count, count:].T
    answer = np.linalg.solve(system, np.vstack((wanted - knots, np.zeros((3, 2)))))
    steps = ((np.arange(_KNOTS) + 0.5) * (size / _KNOTS) - 0.5 - middle) / middle
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    moved = _bending(grid, knots) @ answer[:count] + np.column_stack((np.ones(len(grid)), grid)) @ answer[count:]
    coarse = (moved * middle).reshape(_KNOTS, _KNOTS, 2).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _bending(points: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = np.square(points[:, None] - knots[None]).sum(axis=2)
    return np.asarray(0.5 * squared * np.log(np.maximum(squared, 1e-12)))


def _agreement(here: FloatArray, bent: FloatArray, unit: float) -> tuple[FloatArray, FloatArray]:
    """Around each pixel the correlation of both pictures' middle bands, 0 to 1, and their contrasts' ratio."""
    fine, coarse, area = (sigma * unit for sigma in _AGREES)
    one, other = (_soft(picture, fine) - _soft(picture, coarse) for picture in (here, bent))
    spreads = [_soft(band * band, area) - _soft(band, area) ** 2 for band in (one, other)]
    both = _soft(one * other, area) - _soft(one, area) * _soft(other, area)
    first, second = (np.maximum(spread, 0) for spread in spreads)
    alike = np.clip(both / np.sqrt(first * second + _FLAT), 0, 1)
    return alike, np.clip(np.sqrt((first + _FLAT) / (second + _FLAT)), *_CONTRAST)


def _mixed(own: FloatArray, other: FloatArray, share: FloatArray, unit: float) -> FloatArray:
    """A share of the other band in place of the own one: as strong as the two are, never weaker than the own one."""
    mixed = own + share * (other - own)
    area = _AGREES[2] * unit
    strengths = [_soft(band * band, area) for band in (own, other, mixed)]
    wanted = np.maximum(strengths[0], strengths[0] + share * (strengths[1] - strengths[0]))
    gain = np.sqrt((wanted + 0.1) / (strengths[2] + 0.1))
    # Where nothing is taken the gain is 1 already, but for rounding.
    return mixed * np.where(share > 0, np.clip(gain, 1, _LOUDEST), 1)
