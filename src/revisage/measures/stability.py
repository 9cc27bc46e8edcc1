"""Measures of two frames in a row: T-MSE, warping error, flicker of still regions.

They stand beside sharpness and identity, because a blur is perfectly stable.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Image, Region
from revisage.temporal import DisFlow, Flow, FlowEstimator, consistent, warp

__all__ = ["FrameStep", "ReferenceMotion", "flicker", "motion_between", "t_mse", "warping_error"]

_STILL_PX = 0.5
_STILL_STEP = 2.0
"""Still is what moves less than half a pixel and whose local mean luma changes by at most two steps of 255."""
_LEAST_SHARE = 0.01
"""A mean over less than this part of an area says nothing about it."""


@dataclass(frozen=True, eq=False)
class ReferenceMotion:
    """How the reference moves from the frame before to this one.

    Attributes:
        flow: ``(H, W, 2) float32``, from this frame to the one before (see :mod:`revisage.temporal.flow`).
        believed: ``(H, W) bool``, where forward and backward flow agree.
        still: ``(H, W) bool``, where the reference neither moves nor changes.
    """

    flow: Flow
    believed: NDArray[np.bool_]
    still: NDArray[np.bool_]


def motion_between(before: Image, now: Image, estimator: FlowEstimator | None = None) -> ReferenceMotion:
    """The motion of a reference between two ``(H, W, 3) uint8`` RGB frames; by DIS when no estimator is given."""
    estimate = estimator or DisFlow("fast")
    old, new = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, now))
    flow, back = estimate(new, old), estimate(old, new)
    change = cv2.absdiff(*(cv2.blur(grey.astype(np.float32), (5, 5)) for grey in (old, new)))
    still = (np.square(flow).sum(axis=-1) < _STILL_PX**2) & (change <= _STILL_STEP)
    return ReferenceMotion(flow, consistent(flow, back), still)


@dataclass(frozen=True, eq=False)
class FrameStep:
    """Two frames in a row of a side, beside those of the reference: what the measures over time look at.

    Attributes:
        before, now: ``(H, W, 3) uint8`` RGB of the side.
        reference_before, reference_now: those of the undamaged video.
        motion: of the reference between the same two.
        region: measure there only; everywhere when None.
    """

    before: Image
    now: Image
    reference_before: Image
    reference_now: Image
    motion: ReferenceMotion
    region: Region | None = None

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns that are measured."""
        return (slice(None), slice(None)) if self.region is None else self.region.slices


def t_mse(step: FrameStep) -> float:
    """T-MSE: mean squared difference between a video's change over one frame and the reference's change.

    ``mean(((R_t - R_t-1) - (C_t - C_t-1))²)`` over pixels and RGB channels, in squared steps of 1/255. It is the square
    of dtSSD (Erofeev et al., "Perceptually motivated benchmark for video matting", BMVC 2015) for pictures instead of
    mattes: an error that stays the same from frame to frame costs nothing, one that comes and goes does.
    """
    place = step.slices
    ours = cv2.subtract(step.now[place], step.before[place], dtype=cv2.CV_16S)
    theirs = cv2.subtract(step.reference_now[place], step.reference_before[place], dtype=cv2.CV_16S)
    return float(cv2.norm(ours, theirs, cv2.NORM_L2SQR) / ours.size)


def warping_error(step: FrameStep) -> float:
    """Warping error: mean squared difference of a frame and the one before brought onto it, in 1/1000 of full scale².

    ``E_warp`` of Lai et al., "Learning Blind Video Temporal Consistency" (ECCV 2018), with RGB of 0 to 1: the mean over
    channels and the pixels where forward and backward flow agree (Sundaram, Brox, Keutzer, ECCV 2010). The flow is
    that of the undamaged video for all sides, so that nobody's flicker steers its own yardstick. The reference has a
    warping error of its own (changing light, what flow cannot follow); what exceeds it is the restoration's.

    Raises:
        ValueError: the flow can be believed nearly nowhere.
    """
    mask = step.motion.believed[step.slices]
    _check_share(mask, "the flow of the reference cannot be followed there")
    moved = warp(step.before, step.motion.flow)[step.slices]
    squares = np.square(step.now[step.slices].astype(np.float32) - moved).mean(axis=-1)
    return float(squares[mask].mean(dtype=np.float64) / 255**2 * 1000)


def flicker(step: FrameStep) -> float:
    """Flicker: mean absolute change of the luma (in steps of 1/255) where the reference is still.

    Still is where the reference moves by less than 0.5 px and its mean luma over 5 x 5 px changes by at most 2/255.

    Raises:
        ValueError: nearly nothing is still there.
    """
    mask = step.motion.still[step.slices]
    _check_share(mask, "nothing is still there")
    change = cv2.absdiff(*(cv2.cvtColor(frame[step.slices], cv2.COLOR_RGB2GRAY) for frame in (step.before, step.now)))
    return float(change[mask].mean(dtype=np.float64))


def _check_share(mask: NDArray[np.bool_], problem: str) -> None:
    if np.count_nonzero(mask) < _LEAST_SHARE * mask.size:
        raise ValueError(problem)
