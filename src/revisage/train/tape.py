"""What analogue video does to a picture: colour that bleeds, luma that rings, lines that wander, fields that comb."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.train.degradation_base import Drawn, Image

__all__ = ["Deinterlace", "TapeDamage", "interlaced", "ringing_kernel", "taped"]

Deinterlace = Literal["none", "line", "blend"]
_SMEAR = 3.0  # px along a line over which the noise of a tape's luma is alike


@dataclass(frozen=True)
class TapeDamage(Drawn):
    """One recording on tape; lengths in px of the recorded picture, levels of 255.

    Attributes:
        bleed: deviation of the colour's low-pass along a line.
        delay: how far the colour lies to the right of its edge.
        softness: deviation of the luma's low-pass along a line.
        halo: overshoot at edges, as a part of the step.
        period: distance from one ring to the next.
        jitter: deviation of each line's displacement.
        luma_noise, chroma_noise: deviations.
    """

    bleed: float
    delay: float
    softness: float
    halo: float
    period: float
    jitter: float
    luma_noise: float
    chroma_noise: float


def taped(image: Image, tape: TapeDamage, random: np.random.Generator) -> Image:
    """One frame played back from tape, (H, W, 3) uint8 RGB; noise and the lines' jitter come from ``random``."""
    height, width = image.shape[:2]
    planes = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    shifts = _line_shifts(height, tape.jitter, random)
    columns = np.arange(width, dtype=np.float32)[None]
    rows = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)
    luma = cv2.remap(planes[..., 0], columns + shifts, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    luma = cv2.filter2D(_along(luma, tape.softness), -1, ringing_kernel(tape.halo, tape.period))
    luma += _streaks((height, width), _SMEAR / 3, tape.luma_noise, random)
    # Two neighbouring lines share their colour in the player's comb filter.
    chroma = cv2.GaussianBlur(planes[..., 1:], (0, 0), sigmaX=tape.bleed, sigmaY=0.8, borderType=cv2.BORDER_REPLICATE)
    at = np.broadcast_to(columns, rows.shape) - tape.delay + shifts
    chroma = cv2.remap(chroma, at, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    for channel in range(2):
        chroma[..., channel] += _streaks((height, width), max(tape.bleed, 1.0), tape.chroma_noise, random)
    played = np.dstack((luma, chroma))
    return cv2.cvtColor(_to_uint8(played), cv2.COLOR_YCrCb2RGB).astype(np.uint8, copy=False)


def ringing_kernel(halo: float, period: float) -> NDArray[np.float32]:
    """A row of sum 1 that overshoots at edges by ``halo`` of the step and rings to the right, as filters do in time.

    Args:
        halo: overshoot, a part of the step.
        period: px from ring to ring.
    """
    reach = max(2, math.ceil(1.5 * period))
    after = np.arange(reach + 1)
    # A damped cosine: the slope of a step response that overshoots and swings in.
    tail = np.exp(-1.8 * after / period) * np.cos(2 * math.pi * after / period)
    tail[0] = 0
    tail -= tail.sum() / reach * (after > 0)
    kernel = np.zeros(2 * reach + 1)
    kernel[reach:] = tail * halo
    kernel[reach] += 1
    # A player's sharpness control acts to both sides.
    kernel[reach - 1 : reach + 2] += np.array([-0.5, 1.0, -0.5]) * halo
    # filter2D correlates: what follows in time must come from the left.
    return kernel[::-1].astype(np.float32)[None]


def interlaced(frames: Iterable[Image], repair: Deinterlace) -> Iterator[Image]:
    """Frames whose odd lines come from the frame before, as they are (``none``), or after a bad deinterlacer.

    ``line`` keeps the even lines and doubles them; ``blend`` takes the mean of both fields: ghosts instead of combs.
    """
    before: Image | None = None
    for frame in frames:
        woven = frame.copy()
        if before is not None:
            woven[1::2] = before[1::2]
        before = frame
        yield _deinterlaced(woven, repair)


def _deinterlaced(woven: Image, repair: Deinterlace) -> Image:
    if repair == "none":
        return woven
    if repair == "line":
        return np.ascontiguousarray(np.repeat(woven[::2], 2, axis=0)[: len(woven)])
    kernel = np.array([[0.25], [0.5], [0.25]], np.float32)
    return cv2.filter2D(woven, -1, kernel, borderType=cv2.BORDER_REFLECT_101).astype(np.uint8, copy=False)


def _line_shifts(height: int, jitter: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Displacement of each line (px), (height, 1): half of the variance wanders slowly, half is new in each line."""
    fresh = random.standard_normal((2, height), dtype=np.float32)
    slow = cv2.GaussianBlur(fresh[1:], (0, 0), sigmaX=6.0, sigmaY=0.1, borderType=cv2.BORDER_REFLECT)[0]
    # A white sequence loses that part of its deviation under a Gaussian of 6 px.
    slow *= math.sqrt(2 * math.sqrt(math.pi) * 6.0)
    shifts: NDArray[np.float32] = ((fresh[0] + slow) * np.float32(jitter * math.sqrt(0.5)))[:, None]
    return shifts


def _streaks(size_hw: tuple[int, int], length: float, sigma: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Noise of deviation ``sigma`` that is alike along a line over ``length`` px."""
    noise = _along(random.standard_normal(size_hw, dtype=np.float32), length)
    return noise * np.float32(sigma * math.sqrt(2 * math.sqrt(math.pi) * max(length, 0.3)))


def _along(plane: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """The plane blurred along its lines."""
    if sigma < 0.3:
        return plane
    blurred = cv2.GaussianBlur(plane, (0, 0), sigmaX=sigma, sigmaY=0.1, borderType=cv2.BORDER_REFLECT_101)
    return blurred.astype(np.float32, copy=False)


def _to_uint8(pixels: NDArray[np.float32]) -> Image:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
