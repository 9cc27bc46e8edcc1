"""Average a face along its motion, so that noise goes and what happens stays.

A one-pole recursion (Kalman's filter with a fixed gain, as video denoisers have it): the average so far is warped onto
this frame and mixed with it. What may be mixed is decided pixel by pixel:

* the motion must be trusted: forward and backward flow agree, the inputs match, the move is small;
* the difference must be noise. Noise changes sign from pixel to pixel; a blink, a word or a turning head differs with
  one sign over an area. So the smoothed difference, in parts of its own usual size, takes the weight away;
* whatever passes that is limited: a pixel that differs by many times the noise is left as it is now.

Warps are bicubic: in a recursion bilinear ones would blur again at each step. Averaging takes fine detail away all
the same where the restorer invents it anew in each frame; :class:`Sharpness` gives the finest band its strength back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Crop, median
from revisage.temporal.flow import Flow, FlowEstimator, disagreement, squared_lengths, warp

__all__ = [
    "GRID",
    "INPUT_SHARE",
    "RESTORED_SHARE",
    "Motion",
    "Recursion",
    "Sharpness",
    "motions",
    "onward_motion",
    "reduced",
]

Picture = NDArray[np.float32]

INPUT_SHARE, RESTORED_SHARE = 0.8, 0.6
"""Of the past in the averages of what a restorer is shown, and of what it made."""

GRID = 128
"""Flow is estimated on crops of this side (px): noise is halved in a crop of 256 px, and the cost is a quarter."""

_MISSED = 0.35
"""Where forward and backward flow miss each other by this much (px of the grid), trust has fallen to 0.6."""

_FAR = 2.0
"""A face that moves this far from crop to crop (px of the grid), though crops follow it, is averaged over fewer."""

_NOTHING = 0.05
"""Shorter moves (px of the grid) are noise of the flow: pulled to 0, so that nothing is interpolated without need."""

_EXPECTED, _EXCESS = 1.5, 6.0
"""Squared error of the warped input, in parts of the noise, from which it counts and at which trust is down to 0.4."""

_LEAST_MATCHED, _MOST_MATCHED = 0.7, 12.0
"""Bounds of the noise in the difference of two crops (1/255): without any, rounding is; more is not noise."""

_QUIET, _LOUD, _TIMES_NOISE = 0.4, 6.0, 5.0
"""Noise of the difference (1/255): bounds, and how many times it a pixel may differ before it counts half."""

_AREA, _CALM, _BUSY, _TIMES_CALM = 1.5, 0.3, 4.0, 4.0
"""Smoothed difference: sigma (px of the grid), bounds of its usual size (1/255), how many times that is still noise."""

_MEAN = np.full((1, 3), 1 / 3, np.float32)
"""Weights that make one grey value of a pixel's three."""

_FINEST, _MOST, _FOLLOWS = 1.4, 0.6, 0.5
"""Finest band: sigma in px of the output, the most of it that may be added, how fast that follows."""


@dataclass(frozen=True, eq=False)
class Motion:
    """How to bring a neighbouring crop onto this one.

    Attributes:
        flow: ``(size, size, 2) float32`` px, see :mod:`revisage.temporal.flow`.
        trust: ``(size, size) float32``, 1 where both crops surely show the same, 0 where they surely do not.
    """

    flow: Flow
    trust: NDArray[np.float32]


def reduced(crop: Crop) -> Crop:
    """A crop ``(size, size, 3) uint8 RGB`` as the ``(GRID, GRID) uint8`` grey picture that flow is estimated on."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    shrinks = grey.shape[0] > GRID
    small: Crop = cv2.resize(grey, (GRID, GRID), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return small


def motions(estimate: FlowEstimator, before: Crop, now: Crop, size: int) -> tuple[Motion, Motion]:
    """What brings the crop before onto this one, and what brings this one onto the one before.

    Args:
        estimate: finds the flow.
        before, now: two crops, :func:`reduced`.
        size: side of the crops themselves (px).
    """
    onward, back = estimate(now, before), estimate(before, now)
    return _motion(onward, back, now, before, size), _motion(back, onward, before, now, size)


def onward_motion(estimate: FlowEstimator, before: Crop, now: Crop, size: int, *, patience: float = 1.0) -> Motion:
    """The first of :func:`motions` alone, at little more than half the cost.

    Args:
        estimate, before, now, size: as for :func:`motions`.
        patience: how many times as far anything may move, and the flow miss, before that is a doubt: more than 1
            between frames that are not neighbours.
    """
    return _motion(estimate(now, before), estimate(before, now), now, before, size, patience)


def _motion(flow: Flow, back: Flow, target: Crop, source: Crop, size: int, patience: float = 1.0) -> Motion:
    far = squared_lengths(flow)
    doubt = (disagreement(flow, back) / (2 * _MISSED**2) + far / (2 * _FAR**2)) / patience**2
    still = far / (far + _NOTHING**2)
    flow = cv2.multiply(flow, cv2.merge((still, still)))
    trust = cv2.exp(-np.minimum(doubt + _mismatch(target, warp(source, flow)), 50))
    side = (size, size)
    scaled = cv2.resize(flow * np.float32(size / GRID), side, interpolation=cv2.INTER_LINEAR)
    return Motion(scaled, cv2.resize(trust, side, interpolation=cv2.INTER_LINEAR))


def _mismatch(target: Crop, warped: Crop) -> NDArray[np.float32]:
    """By how much two pictures differ beyond their noise, ``float32``, 0 where that is all."""
    difference = cv2.subtract(target, warped, dtype=cv2.CV_32F)
    noise = float(np.clip(1.4826 * median(np.abs(inner(difference))), _LEAST_MATCHED, _MOST_MATCHED))
    error = cv2.blur(np.square(difference), (5, 5)) / noise**2
    excess: NDArray[np.float32] = np.maximum(error - _EXPECTED, 0) / _EXCESS
    return excess


def inner(picture: NDArray[Any]) -> NDArray[Any]:
    """The middle of a crop, where the face is: what noise and sharpness are measured in."""
    height, width = picture.shape[:2]
    return picture[height // 5 : height * 9 // 10, width // 4 : width * 3 // 4]


class Recursion:
    """The running average of one face.

    Args:
        share: of the past in the average, 0 to 1, where nothing speaks against it. Noise falls to
            ``sqrt((1 - share) / (1 + share))`` of what it was.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._average: Picture | None = None

    def __call__(self, crop: Crop, motion: Motion | None, lapse: float = 1.0) -> Crop:
        """The average up to this crop.

        Args:
            crop: ``(size, size, 3) uint8 RGB``.
            motion: from the crop before; None begins anew.
            lapse: time since the crop before, in parts of the usual time between two. The past fades by it.
        """
        now = crop.astype(np.float32)
        if self._average is not None and motion is not None:
            past = warp(self._average, motion.flow, interpolation=cv2.INTER_CUBIC)
            difference = cv2.subtract(past, now, dst=past)
            weight = _noise_alone(difference)
            weight *= motion.trust
            weight *= np.float32(self._share**lapse)
            change = cv2.multiply(difference, cv2.merge((weight, weight, weight)), dst=difference)
            now = cv2.add(now, change, dst=change)
        self._average = now
        return _to_picture(now)


def _noise_alone(difference: Picture) -> Picture:
    """How far a difference is noise and not something that happened, ``(size, size) float32`` 0 to 1."""
    square = cv2.transform(cv2.multiply(difference, difference), _MEAN)
    noise = _usual(np.sqrt(_sampled(square)), _QUIET, _LOUD)
    limit = cv2.multiply(square, square, scale=1 / (_TIMES_NOISE * noise) ** 4)
    limit += 1
    return cv2.divide(_chance(difference), limit, dst=limit)


def _chance(difference: Picture) -> Picture:
    """1 where the difference averages out over an area, 0 where it has one sign all over it."""
    size = difference.shape[0]
    grey = cv2.transform(difference, _MEAN)
    area = np.abs(cv2.GaussianBlur(cv2.resize(grey, (GRID, GRID), interpolation=cv2.INTER_AREA), (0, 0), _AREA))
    beyond = np.maximum(area / _usual(_sampled(area), _CALM, _BUSY) - _TIMES_CALM, 0)
    chance = cv2.exp(-np.minimum(np.square(beyond) / 2, 50))
    full: Picture = cv2.resize(chance, (size, size), interpolation=cv2.INTER_LINEAR)
    return full


def _sampled(picture: Picture) -> Picture:
    """A quarter of the face's pixels: enough for a median."""
    return inner(picture)[::2, ::2]


def _usual(sizes: Picture, least: float, most: float) -> float:
    """The standard deviation that the median of absolute values stands for, within bounds."""
    return float(np.clip(1.4826 * median(sizes), least, most))


class Sharpness:
    """Gives an average the sharpness that its frames have one by one.

    So much of the finest band is added, all over the face alike, that the variance of the Laplacian is what it is in
    the frame that was not averaged, as far as the output can show it. The amount follows slowly, so that it does not
    flicker itself.
    """

    def __init__(self) -> None:
        self._added = 0.0

    def __call__(self, average: Crop, frame: Crop, scale: float = 1.0) -> Crop:
        """``average`` as sharp as ``frame``.

        Args:
            average, frame: ``(size, size, 3) uint8 RGB``.
            scale: px of the crop for one of the output; above 1 the output is too small to show the finest detail.
        """
        scale = max(1.0, scale)
        smooth = _smoothed(average, scale)
        wanted = float(np.clip(_missing(average, smooth, frame, scale), 0, _MOST))
        self._added += _FOLLOWS * (wanted - self._added)
        sharper: Crop = cv2.addWeighted(average, 1 + self._added, smooth, -self._added, 0)
        return sharper


def _smoothed(picture: Crop, scale: float) -> Crop:
    """The picture without its finest band. A wide blur is done on fewer pixels, never on fewer than the output has."""
    sigma, size = _FINEST * scale, picture.shape[0]
    times = 2 ** int(np.log2(scale))
    if times == 1 or size % times:
        return cv2.GaussianBlur(picture, (0, 0), sigma)
    small = cv2.resize(picture, (size // times, size // times), interpolation=cv2.INTER_AREA)
    # The area average and the interpolation back blur by themselves.
    left = np.sqrt(sigma**2 - (times**2 - 1) / 12 - times**2 / 6) / times
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), left), (size, size), interpolation=cv2.INTER_LINEAR)


def _missing(average: Crop, smooth: Crop, frame: Crop, scale: float) -> float:
    """How much of ``average - smooth`` must be added for the Laplacian to vary as much as in ``frame``."""
    has, less, wants = (_laplacian(picture, scale) for picture in (average, smooth, frame))
    band = has - less
    own, cross, power = has.var(), (has * band).mean() - has.mean() * band.mean(), band.var()
    lacks = wants.var() - own
    if power < 1e-3 or lacks <= 0:
        return 0.0
    return float((np.sqrt(cross**2 + power * lacks) - cross) / power)


def _laplacian(crop: Crop, scale: float) -> Picture:
    """The Laplacian in the face, as the output can show it."""
    grey = cv2.cvtColor(inner(crop), cv2.COLOR_RGB2GRAY)
    if scale > 1:
        width, height = (max(4, round(side / scale)) for side in grey.shape[::-1])
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.Laplacian(grey, cv2.CV_32F)[1:-1, 1:-1]


def _to_picture(values: Picture) -> Crop:
    """Values in 1/255, rounded and clipped to uint8."""
    picture: Crop = cv2.add(values, 0, dtype=cv2.CV_8U)
    return picture
