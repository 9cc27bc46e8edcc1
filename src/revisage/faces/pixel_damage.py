"""Whether a small face is damaged, told from the frame's own pixels.

A crop enlarges a face that is smaller than it is, and a restorer takes what that looks like for blur: of a clean one it
loses 1 to 3 dB, of a damaged one it gains as much and more. Six signs tell one from the other, each of which sees what
the others do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import median
from revisage.faces.alignment import AlignedFace, crop_scale, invert, transform, warp_antialiased
from revisage.faces.compositing import landmark_mask, shown_region
from revisage.faces.grain import DARKEST, LIGHTEST

if TYPE_CHECKING:
    from revisage.media import Frame


__all__ = ["PixelSigns", "damage_of", "pixel_signs"]

_Band = NDArray[np.float32]

_SOFT_TO_SHARP, _SOFT_TO_SHARP_LARGER, _SOFT_TO_SHARP_MOST = (0.58, 0.80), (0.57, 0.67), (0.50, 0.60)
"""Limits of `sharp` for faces up to `_SMALL` px and for those from `_LARGER` px on, and of `sharp_most`: a sign goes
over from one of its limits to the other. They were searched for on sixteen faces, each 60, 100 and 140 px wide and
damaged in seventeen ways (`benchmarks/small_faces.py`), and on the faces of six clips, as they are and reduced to a
half, coded again by H.264 at crf 18 to 34. Against limits of 0.68 and 0.80 at all sizes, which take the softness of
clean footage for damage, no damage of the former loses more than 0.1 dB, and few limits gain more on the latter."""

_CALM_TO_NOISY, _FLAT_TO_WHOLE = (4.2, 6.5), (0.12, 0.15)
"""Of noise of 5 levels a third of the change is best at 60 px, of 8 all of it; `noise` is 4.0 and 5.8 there, as not all
noise of colours is in the light, and 4.4 in the busiest clean face."""

_EDGED_TO_GRAINY = (0.03, 0.10)
"""How much sharper the part of a face with the least detail is than all of it: grain coarser than a pixel lies over all
alike and passes for sharpness, while the edges of a clean face are its sharpest part. Twelve faces of 60 to 131 px from
clips and photos have -0.17 to 0.05 there; with the grain of the presets `archive` and `film` 0.05 to 0.36 in eleven of
them, as tapes (`family-tape`) 0.06 to 0.14 in ten."""

_CALM_TO_RESTLESS, _PATCHY_TO_EVEN = (1.5, 2.2), (0.54, 0.62)
"""Limits of `calm` and `even`; grain is beyond both. Film grain that is alike over a deviation of 1 px, laid over
eleven faces of 59 to 266 px from clips, has 2.0 to 2.9 of the former at 9 levels, where a restoration brings 0.7 dB and
0.09 of identity in the mean, and 1.4 to 2.2 at 6, where it costs 0.8 dB and brings 0.04. The clips as they are, and
coded at crf 10 to 34, have at most 1.3. Of 128 sharp portraits 60 px wide one in ten has as much as the grain, but not
of it everywhere: `even` is at most 0.55 there, with the grain of 9 levels 0.63 to 0.72."""

_FULL, _FULLER = 80, 0.10
"""The smaller a clean face, the less of it is without detail: of 24 sharp ones the most `even` has 0.53 at 80 px, 0.59
at 60, 0.62 at 45 and 0.77 at 30, where grain is not told from detail at all, nor does a restoration bring anything. So
the limits of `even` lie higher below 80 px, by that much at 30, and the sign fades from 60 px to 30."""

_CALMEST = 0.1
"""Part of a face that has the least of the octave: less of it is calm by chance, more of it shows detail."""

_LARGER, _LARGE, _TEXTURED = 100, 140, 0.05
"""Skin and hair have a texture of their own in faces larger than that (px): of clean test faces 1 % have more than 0.03
there at 60 px, 5 % at 100, 21 % at 140. So the limits lie so much higher at 140 px."""

_TINY, _SMALL, _SHARPER, _NOISIER = 30, 60, 0.11, 1.5
"""Clean faces 30 px wide are sharper and busier than those from 60 px on: there limits lie so much higher."""

_MOST, _NEAR = 0.8, 2.0
"""Part of a face that has the least detail, and the deviation of the Gaussian (px) over which detail counts for it:
letters, and the edges of what else is before a face, do not reach it."""

_FINEST = 0.7
"""Deviation of the Gaussian (px) above which the finest band begins; the octave below it begins at twice that."""

_OF_NOISE = (0.51, 0.073)
"""Parts of the variance of white noise that are in the finest band and in the octave below."""

_ROUNDING = 0.29
"""Deviation of the noise that rounding to whole levels leaves (1/255). Not taken off, it would pass for the sharpness
of a face that is blurred by 6 px, and noise of 3 levels for that of one blurred by 2 px."""

_SECOND_DIFFERENCE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
"""A second difference both ways; noise keeps its deviation through it, edges and shades along a row or column go."""

_WIDTH = 280 / 512
"""Of a face in FFHQ framing, as part of the crop's side."""

_MEDIAN_OF_NORMAL = 0.6745
"""Median of the magnitude of normal noise, in deviations."""

_LEAST = 40
"""Pixels of a face that tell something; one that shows fewer is restored."""


@dataclass(frozen=True)
class PixelSigns:
    """What the pixels of a face in a frame look like, in light alone.

    Attributes:
        width: of the face in the frame, cheek to cheek (px).
        sharp: deviation of the finest band over that of the octave below, without noise: blur lowers it.
        sharp_most: the same of the four fifths of the face that have the least detail: letters across a blurred face
            do not pass for its sharpness, and grain all over it is told from edges.
        noise: deviation of what is noise at most, by the median of a second difference (1/255).
        flat: that over the deviation of the finest band: low where blocks leave large areas without any detail.
        calm: deviation of the octave below the finest band in the tenth of the face that has the least of it (1/255):
            grain that is too coarse to be `noise` is there as well.
        even: that over the typical deviation of the octave: low where a face has detail in some places, some 0.7 where
            all that it has is noise.
    """

    width: float
    sharp: float
    sharp_most: float
    noise: float
    flat: float
    calm: float
    even: float

    @property
    def damage(self) -> float:
        """0 for a clean face, 1 for one that is damaged in any of these ways."""
        tiny = _part_between(self.width, (_SMALL, _TINY))
        larger = _part_between(self.width, (_SMALL, _LARGER))
        texture = _part_between(self.width, (_LARGER, _LARGE)) * _TEXTURED
        sharp, sharp_most = self.sharp - tiny * _SHARPER, self.sharp_most - tiny * _SHARPER
        even = self.even - _part_between(self.width, (_FULL, _TINY)) * _FULLER
        soft, fine = ((1 - larger) * a + larger * b for a, b in zip(_SOFT_TO_SHARP, _SOFT_TO_SHARP_LARGER, strict=True))
        signs = (
            1 - _part(sharp, (soft, fine)),
            1 - _part(sharp_most, _SOFT_TO_SHARP_MOST),
            _part(self.noise - tiny * _NOISIER, _CALM_TO_NOISY),
            1 - _part(self.flat, _FLAT_TO_WHOLE),
            _part(self.sharp_most - self.sharp - texture, _EDGED_TO_GRAINY),
            (1 - tiny) * min(_part(self.calm, _CALM_TO_RESTLESS), _part(even, _PATCHY_TO_EVEN)),
        )
        return min(1.0, max(0.0, *signs))


def _part(value: float, limits: tuple[float, float]) -> float:
    """How far a value lies from one limit to the other; below 0 and above 1 outside of them."""
    low, high = limits
    return (value - low) / (high - low)


def _part_between(value: float, limits: tuple[float, float]) -> float:
    return min(1.0, max(0.0, _part(value, limits)))


def damage_of(frame: Frame, face: AlignedFace) -> float:
    """How damaged a face is, 0 to 1; 1 where too little of it is in the frame to be told."""
    signs = pixel_signs(frame, face)
    return 1.0 if signs is None else signs.damage


def pixel_signs(frame: Frame, face: AlignedFace) -> PixelSigns | None:
    """The signs of a face that was aligned in a frame; None where too little of it is in the frame."""
    mask, to_frame = landmark_mask(face.landmarks, face.size), invert(face.affine)
    region = shown_region(mask, to_frame, frame.size_hw)
    if region is None:
        return None
    to_region = np.column_stack((to_frame[:, :2], transform(to_frame, [(0, 0)])[0] - (region.left, region.top)))
    shown = warp_antialiased(
        mask, to_region, region.size_hw, interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT
    )
    inside = shown > 0.5
    if np.count_nonzero(inside) < _LEAST:
        return None
    grey = cv2.cvtColor(frame.rgb(region).astype(np.float32), cv2.COLOR_RGB2GRAY)
    soft, softer = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (_FINEST, 2 * _FINEST))
    noise = median(np.abs(cv2.filter2D(grey, -1, _SECOND_DIFFERENCE)[inside])) / _MEDIAN_OF_NORMAL
    bands = grey - soft, soft - softer
    detail = cv2.GaussianBlur(np.square(bands[0]) + np.square(bands[1]), (0, 0), _NEAR)
    most = inside & (detail <= np.quantile(detail[inside], _MOST))
    flat = noise / max(float(bands[0][inside].std()), 1e-3)
    width = _WIDTH * face.size / crop_scale(face.affine)
    ratios = _ratio(bands, inside, noise), _ratio(bands, most, noise)
    return PixelSigns(
        width, *ratios, noise, flat, *_calm_and_even(bands[1], inside & (softer > DARKEST) & (softer < LIGHTEST))
    )


def _calm_and_even(octave: _Band, seen: NDArray[np.bool_]) -> tuple[float, float]:
    """Deviation of an octave where it is calmest, and that over its typical one; none where little is seen of it."""
    if np.count_nonzero(seen) < _LEAST:
        return 0.0, 0.0
    calm = math.sqrt(float(np.quantile(cv2.GaussianBlur(np.square(octave), (0, 0), _NEAR)[seen], _CALMEST)))
    return calm, calm * _MEDIAN_OF_NORMAL / max(median(np.abs(octave[seen])), 1e-3)


def _ratio(bands: tuple[_Band, _Band], inside: NDArray[np.bool_], noise: float) -> float:
    """Deviation of the finest band over that of the octave below, both without noise."""
    finest, octave = (
        math.sqrt(max(float(band[inside].var()) - part * max(noise, _ROUNDING) ** 2, 0.0))
        for band, part in zip(bands, _OF_NOISE, strict=True)
    )
    return finest / max(octave, 1e-3)
