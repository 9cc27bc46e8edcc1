"""How a face moved from one aligned crop to the next, and how far that can be relied on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.temporal.flow import Flow, FlowEstimator, disagreement, squared_lengths, warp

__all__ = ["GRID", "Motion", "motions", "onward_motion", "reduced"]

GRID = 128
"""Flow is estimated on crops of this side (px): noise is halved in a crop of 256 px, and the cost is a quarter."""

# All in px of the grid. Where forward and backward flow miss each other by this much, trust has fallen to 0.6.
_MISSED = 0.35
# A face that moves this far from crop to crop, though crops follow it, is averaged over fewer frames.
_FAR = 2.0
# Shorter moves are noise of the flow: they are pulled to 0, so that nothing is interpolated where nothing moves.
_NOTHING = 0.05
# Squared error of the warped input, in parts of the noise, from which it counts and at which trust has fallen to 0.4.
_EXPECTED, _EXCESS = 1.5, 6.0
# Bounds of the noise in the difference of two crops (1/255): without any, rounding is; more is not noise.
_QUIET, _LOUD = 0.7, 12.0


@dataclass(frozen=True, eq=False)
class Motion:
    """How to bring a neighbouring crop onto this one.

    Attributes:
        flow: ``(size, size, 2) float32`` px, see :mod:`revisage.temporal.flow`.
        trust: ``(size, size) float32``, 1 where both crops surely show the same, 0 where they surely do not.
    """

    flow: Flow
    trust: NDArray[np.float32]


def reduced(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A crop ``(size, size, 3) uint8 RGB`` as the ``(GRID, GRID) uint8`` grey picture that flow is estimated on."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    shrinks = grey.shape[0] > GRID
    small: NDArray[np.uint8] = cv2.resize(
        grey, (GRID, GRID), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    return small


def motions(
    estimate: FlowEstimator, before: NDArray[np.uint8], now: NDArray[np.uint8], size: int
) -> tuple[Motion, Motion]:
    """What brings the crop before onto this one, and what brings this one onto the one before.

    Args:
        estimate: finds the flow.
        before, now: two crops, :func:`reduced`.
        size: side of the crops themselves (px).
    """
    onward, back = estimate(now, before), estimate(before, now)
    return _motion(onward, back, now, before, size), _motion(back, onward, before, now, size)


def onward_motion(estimate: FlowEstimator, before: NDArray[np.uint8], now: NDArray[np.uint8], size: int) -> Motion:
    """The first of :func:`motions` alone, at little more than half the cost."""
    return _motion(estimate(now, before), estimate(before, now), now, before, size)


def _motion(flow: Flow, back: Flow, target: NDArray[np.uint8], source: NDArray[np.uint8], size: int) -> Motion:
    far = squared_lengths(flow)
    doubt = disagreement(flow, back) / (2 * _MISSED**2) + far / (2 * _FAR**2)
    still = far / (far + _NOTHING**2)
    flow = cv2.multiply(flow, cv2.merge((still, still)))
    trust = cv2.exp(-np.minimum(doubt + _mismatch(target, warp(source, flow)), 50))
    side = (size, size)
    scaled = cv2.resize(flow * np.float32(size / GRID), side, interpolation=cv2.INTER_LINEAR)
    return Motion(scaled, cv2.resize(trust, side, interpolation=cv2.INTER_LINEAR))


def _mismatch(target: NDArray[np.uint8], warped: NDArray[np.uint8]) -> NDArray[np.float32]:
    """By how much two pictures differ beyond their noise, ``float32``, 0 where that is all."""
    difference = cv2.subtract(target, warped, dtype=cv2.CV_32F)
    noise = float(np.clip(1.4826 * np.median(np.abs(inner(difference))), _QUIET, _LOUD))
    error = cv2.blur(np.square(difference), (5, 5)) / noise**2
    excess: NDArray[np.float32] = np.maximum(error - _EXPECTED, 0) / _EXCESS
    return excess


def inner(picture: NDArray[Any]) -> NDArray[Any]:
    """The middle of a crop, where the face is: what noise and sharpness are measured in."""
    height, width = picture.shape[:2]
    return picture[height // 5 : height * 9 // 10, width // 4 : width * 3 // 4]
