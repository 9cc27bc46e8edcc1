"""The faces of a reference: found once, followed, and used for all that is compared with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from revisage import faces
from revisage.core import CancelToken, Face, Progress, ProgressCallback, Region, Track, make_config
from revisage.evaluate.settings import EvaluateSettings

if TYPE_CHECKING:
    from revisage.faces import FaceDetector
    from revisage.media import Frame

__all__ = ["CROP", "ReferenceFaces", "aligned_crop", "face_region", "find_faces"]

CROP = 256
"""Side of the aligned crops that perceptual and natural quality are measured on (px)."""
_GROWN = 0.1
"""A face is measured in its box, larger by this part of it on each side."""


class ReferenceFaces:
    """The tracks of a reference, asked by frame.

    Args:
        tracks: in frames counted from the reference's first.
        detector: that found them; it looks again at the crops for landmarks.
    """

    def __init__(self, tracks: list[Track], detector: FaceDetector | None) -> None:
        self.tracks = tracks
        self.detector = detector

    def at(self, index: int) -> list[tuple[int, Face]]:
        """Track and face of each person in a frame."""
        found = ((track.id, track.at(index)) for track in self.tracks)
        return [(track, face) for track, face in found if face is not None]


def find_faces(
    reference: Path,
    settings: EvaluateSettings,
    *,
    total: int | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> ReferenceFaces:
    """Detect and follow the faces of the frames that will be measured.

    Raises:
        InputError: the reference cannot be read.
        CancelledError: stopped through ``cancel``.
    """
    from revisage.pipeline import Networks, fingerprint, scan_frames

    config = make_config(detector=settings.detector, device=settings.device)
    networks = Networks(config)
    last = None if settings.max_frames is None else settings.every * (settings.max_frames - 1) + 1
    token = cancel or CancelToken()

    def tell(done: int, faces: int) -> None:
        if progress is not None:
            progress(Progress("scan", done, total, faces, reference.name))

    scan = scan_frames(lambda: _frames(reference, last), fingerprint(reference), config, networks, token, tell)
    return ReferenceFaces([track.value() for track in scan.tracks], networks.detector)


def _frames(path: Path, count: int | None) -> Iterator[Frame]:
    from revisage.media import open_source

    with open_source(path) as source:
        yield from itertools.islice(source.frames(), count)


def face_region(face: Face, size_hw: tuple[int, int]) -> Region | None:
    """The box of a face, a tenth larger on each side, in whole pixels of the frame; None where nothing is left."""
    x, y, width, height = face.box
    left, right = x - _GROWN * width, x + (1 + _GROWN) * width
    top, bottom = y - _GROWN * height, y + (1 + _GROWN) * height
    sides = (max(0, math.floor(left)), max(0, math.floor(top)))
    ends = (min(size_hw[1], math.ceil(right)), min(size_hw[0], math.ceil(bottom)))
    if sides[0] >= ends[0] or sides[1] >= ends[1]:
        return None
    return Region(*sides, *ends)


def aligned_crop(image: NDArray[np.uint8], face: Face, size: int = CROP) -> NDArray[np.uint8]:
    """A face of an ``(H, W, 3) uint8`` RGB frame in FFHQ framing, ``(size, size, 3)``.

    Raises:
        ValueError: the landmarks cannot be aligned.
    """
    from revisage.media import Frame

    return faces.align(Frame.from_array(image), face, size).crop
