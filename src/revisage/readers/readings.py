"""What a reader says of faces, and what follows from their landmarks alone."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

__all__ = ["COVER_CELLS", "EXPRESSIONS", "Expression", "FaceReadings", "eye_openings", "mouth_openings"]

FloatArray = NDArray[np.float32]

Expression = Literal["neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised"]
EXPRESSIONS: tuple[Expression, ...] = get_args(Expression)

COVER_CELLS = 64
"""Cells per side of a crop, of what is before the face."""

# 300-W's order: eyes from 36 and 42, corner, two of the upper lid, corner, two of the lower; inner lips from 60.
_EYES = (36, 42)
_INNER_LIPS = 60


@dataclass(frozen=True, eq=False)
class FaceReadings:
    """What was read of N aligned faces.

    Attributes:
        identity: ``(N, 128) float32``, of length one: compare by cosine.
        pose: ``(N, 3) float32``: yaw, pitch and roll in degrees, as the crop shows the head. Yaw is below zero when the
            nose points to the right side of the picture, roll above zero when the head leans clockwise.
        landmarks: ``(N, 68, 2) float32``: x, y in px of the crop (centres at integers), in 300-W's order (Sagonas et
            al., ICCVW 2013).
        expression: ``(N, 7) float32``, probabilities of :data:`EXPRESSIONS`.
        visibility: ``(N, 68) float32``, probability that nothing is before a landmark.
        cover: ``(N, COVER_CELLS, COVER_CELLS) float32``, probability that something is before the face in a cell of the
            crop, row by row; None of a reader that does not tell.
    """

    identity: FloatArray
    pose: FloatArray
    landmarks: FloatArray
    expression: FloatArray
    visibility: FloatArray
    cover: FloatArray | None = None

    def __post_init__(self) -> None:
        count = len(self.identity)
        wanted = {"pose": (3,), "landmarks": (68, 2), "expression": (len(EXPRESSIONS),), "visibility": (68,)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != (count, *shape):
                raise ValueError(f"{name}: expected {(count, *shape)}, got {getattr(self, name).shape}")
        cells = (count, COVER_CELLS, COVER_CELLS)
        if self.cover is not None and self.cover.shape != cells:
            raise ValueError(f"cover: expected {cells}, got {self.cover.shape}")

    def __len__(self) -> int:
        return len(self.identity)

    def __getitem__(self, part: slice) -> FaceReadings:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[part] for name, value in values.items() if value is not None})

    @property
    def eye_opening(self) -> FloatArray:
        """``(N, 2)``: of the image's left and right eye; see :func:`eye_openings`."""
        return eye_openings(self.landmarks)

    @property
    def mouth_opening(self) -> FloatArray:
        """``(N,)``; see :func:`mouth_openings`."""
        return mouth_openings(self.landmarks)


def eye_openings(landmarks: FloatArray) -> FloatArray:
    """The eye aspect ratio: distance of the lids over the eye's width (Soukupová & Čech, CVWW 2016).

    Args:
        landmarks: ``(N, 68, 2)``, in any unit.

    Returns:
        ``(N, 2) float32``: about 0.3 open, 0.1 closed.
    """
    return np.stack([_openness(landmarks[:, first : first + 6], ((1, 5), (2, 4)), (0, 3)) for first in _EYES], axis=1)


def mouth_openings(landmarks: FloatArray) -> FloatArray:
    """Distance of the inner lips over their width: ``(N,) float32``, 0 closed.

    Args:
        landmarks: ``(N, 68, 2)``, in any unit.
    """
    lips = landmarks[:, _INNER_LIPS : _INNER_LIPS + 8]
    return _openness(lips, ((1, 7), (2, 6), (3, 5)), (0, 4))


def _openness(points: FloatArray, across: tuple[tuple[int, int], ...], along: tuple[int, int]) -> FloatArray:
    def distance(pair: tuple[int, int]) -> FloatArray:
        return np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=1)

    height = np.mean([distance(pair) for pair in across], axis=0)
    # Landmarks that coincide are those of no face; any number will do.
    ratio: FloatArray = (height / np.maximum(distance(along), np.float32(1e-6))).astype(np.float32)
    return ratio
