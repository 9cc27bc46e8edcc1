"""Guide frames: the finest, best-posed frame of each track, which lends its detail to those that are less fine.

Footage is not equally good throughout: a face comes nearer, stands still after a fast turn, or is coded with more bits
after a cut. No photo is needed there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from revisage.core import CancelToken, Crop
from revisage.people.guided_detail import LIKE, Guide
from revisage.people.observation import Footage, SeenFace, TrackReading, good_looks, seen_faces
from revisage.readers import FaceReader

__all__ = ["find_guide_frames", "fineness", "wanted_detail"]

_BAND = (1.0, 2.0)
"""Sigmas of the band of a crop of 256 px that shows how fine a face is (px): finer ones are noise's as well."""
_INNER = slice(80, 208), slice(80, 176)
"""Brows to mouth, rows and columns of a crop of 256 px."""
_NOTHING = 0.3
"""Deviation of the band (1/255) that any picture has, and that says nothing."""
_FINER = (1.15, 1.6)
"""How much finer a guide frame is than a face that takes nothing of it, and than one that takes all."""


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


def find_guide_frames(
    footage: Footage,
    readings: Sequence[TrackReading],
    reader: FaceReader,
    size: int,
    *,
    tell: Callable[[int], None] = lambda _: None,
    cancel: CancelToken | None = None,
) -> dict[int, Guide]:
    """Read the source once more and take of each track the frame that shows most of the face.

    Args:
        footage: source and tracks.
        readings: of the tracks: a frame that shows somebody else guides nothing.
        reader: reads the chosen frames.
        size: side of the restorer's crops (px).
        tell: told the number of frames that were passed.
        cancel: looked at between frames.

    Returns:
        The guides by track.

    Raises:
        ProcessingError: the source is not what it was when the faces were found.
        CancelledError: a stop was asked for.
    """
    best: dict[int, tuple[float, float, SeenFace]] = {}
    for seen in seen_faces(footage, good_looks(footage), size, tell, cancel or CancelToken()):
        fine = fineness(seen.crop)
        value = fine * seen.look.worth
        if value > best.get(seen.look.track.id, (0.0, fine, seen))[0]:
            best[seen.look.track.id] = value, fine, seen
    guides = {}
    for reading in readings:
        if reading.track in best:
            _, fine, seen = best[reading.track]
            read = reader(seen.crop[None])
            if float(read.identity[0] @ reading.identity) >= LIKE:
                name = f"frame {seen.look.index}"
                guides[reading.track] = Guide(name, seen.crop, read.landmarks[0], read.pose[0], fine)
    return guides
