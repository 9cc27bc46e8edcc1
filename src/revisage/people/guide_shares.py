"""A guide, and how much of its detail a face takes.

Four things say how much, each by itself, and what they say is multiplied: how the two heads are held (:func:`facing`);
of a frame of the same footage, how much finer it is (:func:`wanted_detail`); around each pixel, how well the two agree;
and over the face as a whole, whether they agree as photos of one day do where its own detail is lost (:func:`shares`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Crop

__all__ = ["LIKE", "Guide", "facing", "fineness", "lost_detail", "shares", "wanted_detail"]

FloatArray = NDArray[np.float32]

LIKE = 0.5
"""Cosine from which faces are a guide's person's. Of 44 officials with two photos each, by ``compact-reader``, the
other photo has 0.55 or more where the face is degraded four times, and in nine of ten cases where it is eight times;
the others' photos have 0.47 at most."""

_TURNED = (15.0, 30.0)
"""Degrees between the two heads (the larger of yaw and pitch) up to which a guide serves fully, and not at all."""
_BAND = (1.0, 2.0)
"""Sigmas of the band of a crop of 256 px that shows how fine a face is (px): finer ones are noise's as well."""
_INNER = slice(80, 208), slice(80, 176)
"""Brows to mouth, rows and columns of a crop of 256 px."""
_NOTHING = 0.3
"""Deviation of the band (1/255) that any picture has, and that says nothing."""
_FINER = (1.15, 1.6)
"""How much finer a guide frame is than a face that takes nothing of it, and than one that takes all."""

_MOST, _MOST_OF_ONE_DAY = (0.7, 0.6, 0.5), (1.0, 1.0, 0.9)
"""Of each band what is taken from a guide that agrees fully: as a rule, and of a photo of the same day where the face's
own detail is lost. On 44 officials with two photos each, degraded eight times, the guide's part by least
squares against the truth was 0.6, 0.5 and 0.3 times the squared correlation wherever that lay between 0.3 and 0.9; a
little more costs nothing there and brings identity."""
_ONE_DAY = 0.76, 0.88
"""Mean correlation over the face between which the second of these takes the first's place. Heavily degraded, faces
with a photo of the same day had 0.87 to 0.95, of another year 0.63 to 0.83."""
_KNOWN, _KNOWN_BAND = (0.55, 0.7), 2.0
"""Correlation of the finest detail (beyond this sigma, px) of what the restorer was shown with that of what it made, up
to which the face's own detail is lost, and from which it is known. Heavily degraded faces had 0.41 to 0.61, at medium
damage 0.75 to 0.88."""


@dataclass(frozen=True, eq=False)
class Guide:
    """A sharp view of somebody.

    Attributes:
        name: of the photo or frame, for reports.
        crop: ``(size, size, 3) uint8 RGB`` in FFHQ framing.
        landmarks: ``(68, 2) float32`` in it, px; see :class:`revisage.readers.FaceReadings`.
        pose: ``(3,) float32``, yaw, pitch and roll in degrees.
        fineness: of a frame of the footage itself, see :func:`fineness`; None for a photo.
    """

    name: str
    crop: Crop
    landmarks: FloatArray
    pose: FloatArray
    fineness: float | None = None


def facing(pose: FloatArray, guide: Guide) -> float:
    """1 where a head is held as the guide's, 0 where it is turned too far from it; ``pose`` as the guide's."""
    apart = float(np.abs(pose[:2] - guide.pose[:2]).max())
    return float(np.clip((_TURNED[1] - apart) / (_TURNED[1] - _TURNED[0]), 0, 1))


def fineness(crop: Crop) -> float:
    """How much fine detail an aligned face shows: deviation of its light between 1 and 2 px of 256, in 1/255."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (256, 256), interpolation=cv2.INTER_AREA)[_INNER].astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(small, (0, 0), sigma) for sigma in _BAND)
    return float((fine - coarse).std())


def wanted_detail(guide: Guide, crop: Crop) -> float:
    """How much of a guide's detail a face is to take, 0 to 1: all of a photo's, and a frame's as far as it is finer.

    Args:
        guide: of the face's track.
        crop: ``(size, size, 3) uint8 RGB``, the face as it was found.
    """
    if guide.fineness is None:
        return 1.0
    ratio = (guide.fineness + _NOTHING) / (fineness(crop) + _NOTHING)
    return float(np.clip((ratio - _FINER[0]) / (_FINER[1] - _FINER[0]), 0, 1))


def lost_detail(shown: FloatArray, restored: FloatArray, mask: FloatArray, unit: float) -> float:
    """1 where the restorer made the finest detail up, 0 where it was shown it.

    Args:
        shown, restored: ``(size, size) float32``, light of the face before and after the restorer, in 1/255.
        mask: ``(size, size) float32``, how much each pixel counts.
        unit: size in units of 256 px.
    """
    one, other = (light - cv2.GaussianBlur(light, (0, 0), _KNOWN_BAND * unit) for light in (shown, restored))
    both, *own = (float((a * b * mask).sum()) for a, b in ((one, other), (one, one), (other, other)))
    known = both / max(float(np.sqrt(own[0] * own[1])), 1e-6)
    return float(np.clip((_KNOWN[1] - known) / (_KNOWN[1] - _KNOWN[0]), 0, 1))


def shares(agreement: FloatArray, mask: FloatArray, lost: float) -> list[FloatArray]:
    """How much of each band is the guide's around each pixel, the finest first.

    What is alike as a whole is believed more where the face's own detail is lost.

    Args:
        agreement: ``(size, size) float32``, 0 to 1, correlation of face and guide around each pixel.
        mask: ``(size, size) float32``, the most that may be taken, 0 to 1.
        lost: see :func:`lost_detail`.
    """
    alike = float((agreement * mask).sum()) / max(float(mask.sum()), 1e-6)
    one_day = lost * float(np.clip((alike - _ONE_DAY[0]) / (_ONE_DAY[1] - _ONE_DAY[0]), 0, 1))
    share = agreement ** np.float32(2 - one_day) * mask
    pairs = zip(_MOST, _MOST_OF_ONE_DAY, strict=True)
    return [share * np.float32(low + one_day * (high - low)) for low, high in pairs]
