"""Faces, tracks and shots: frozen values that check themselves.

Coordinates are in pixels of the frame as it is shown upright (rotation applied), in OpenCV's convention:
integer coordinates are the centres of pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Box", "Crop", "Detail", "Face", "Image", "Levels", "Region", "Shot", "Track"]

Image = NDArray[np.uint8]
"""``(H, W, 3) uint8 RGB``, contiguous."""

Crop = NDArray[np.uint8]
"""``(size, size, 3) uint8 RGB``: an aligned face of a network's size; or ``(N, size, size, 3)``, several of them."""

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""


@dataclass(frozen=True)
class Levels:
    """A gain and an offset (1/255 of the full scale) for each of R, G and B."""

    gain: tuple[float, float, float]
    offset: tuple[float, float, float]


@dataclass(frozen=True)
class Detail:
    """What was measured of a face's fine detail, at the frame's own pixels; None is what was not.

    Attributes:
        change: of a large face, root mean square of what a net for noise, blocks and blur would change in its middle
            (1/255).
        sharpness: of a large face, deviation of the finest band of its crop, once that is changed, over that of the
            octave below.
        damage: of a small face, 0 where it is clean to 1.
    """

    change: float | None = None
    sharpness: float | None = None
    damage: float | None = None


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one frame.

    Attributes:
        box_xywh: left, top, width, height (px); width and height above zero. ``box`` is the same.
        landmarks: ``(5, 2) float32``, read-only: left eye, right eye, nose tip, left and right mouth corner,
            left and right as the viewer sees them (px).
        score: the detector's confidence, 0 to 1.
        detail: where somebody looked.

    Raises:
        ValueError: a value is not finite, a side is not positive, or the shape is wrong.
    """

    box_xywh: Box
    landmarks: NDArray[np.float32]
    score: float = 1.0
    detail: Detail | None = None

    def __post_init__(self) -> None:
        landmarks = np.array(self.landmarks, dtype=np.float32)
        if landmarks.shape != (5, 2):
            raise ValueError(f"landmarks must have shape (5, 2), got {landmarks.shape}")
        box = tuple(float(v) for v in self.box_xywh)
        if len(box) != 4:
            raise ValueError(f"box must be x, y, width, height, got {self.box_xywh!r}")
        if not (all(map(math.isfinite, box)) and np.isfinite(landmarks).all() and math.isfinite(self.score)):
            raise ValueError("box, landmarks and score must be finite numbers")
        if box[2] <= 0 or box[3] <= 0:
            raise ValueError(f"box width and height must be positive, got {box[2]} x {box[3]}")
        landmarks.flags.writeable = False
        object.__setattr__(self, "box_xywh", box)
        object.__setattr__(self, "landmarks", landmarks)
        object.__setattr__(self, "score", float(self.score))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Face):
            return NotImplemented
        return (self.box, self.score) == (other.box, other.score) and bool(
            np.array_equal(self.landmarks, other.landmarks)
        )

    def __hash__(self) -> int:
        return hash((self.box, self.score))

    @property
    def box(self) -> Box:
        """Left, top, width, height (px)."""
        return self.box_xywh

    @property
    def size(self) -> float:
        """The longer side of the box, in px: what ``min_face`` and ``max_face`` compare with."""
        return max(self.box[2], self.box[3])

    @property
    def centre(self) -> tuple[float, float]:
        """The centre of the box (px)."""
        return self.box[0] + self.box[2] / 2, self.box[1] + self.box[3] / 2

    @property
    def roll(self) -> float:
        """How far the face leans in the picture, clockwise in radians, -pi to pi: from the eyes and from the way from
        them to the mouth together, as in profile the eyes alone say nothing."""
        points = self.landmarks.astype(np.float64)
        (right, low), down = points[1] - points[0], points[3:].mean(axis=0) - points[:2].mean(axis=0)
        return math.atan2(low - down[0], right + down[1])

    @property
    def lies(self) -> bool:
        """Whether it leans by more than 45°: on its side, or on its head."""
        return abs(self.roll) > math.pi / 4

    def moved(self, landmarks: ArrayLike) -> Face:
        """This face with other landmarks."""
        return replace(self, landmarks=np.asarray(landmarks, dtype=np.float32))


@dataclass(frozen=True)
class Region:
    """A rectangle of whole pixels inside a frame: columns ``left`` to ``right``, rows ``top`` to ``bottom``,
    ends excluded."""

    left: int
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right and 0 <= self.top < self.bottom):
            raise ValueError(f"not a region inside a frame: {self}")

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices of an array that has the frame's size."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class Shot:
    """Frames ``start`` to ``stop`` (excluded) between two cuts, counted in presentation order from 0."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a shot needs 0 <= start < stop, got {self.start}, {self.stop}")


@dataclass(frozen=True)
class Track:
    """One person in one shot, with a face for each of its frames.

    Attributes:
        id: unique within a scan, counted from 0.
        start: index of the first frame.
        faces: one face per frame from ``start`` on, seen or filled in.
        seen: for each frame, whether a detector saw the face there.
        weights: for each frame, 0 to 1: how far the restoration is faded in.
        strength: what the user set for this person; None takes the run's strength.
    """

    id: int
    start: int
    faces: tuple[Face, ...]
    seen: tuple[bool, ...]
    weights: tuple[float, ...] = field(default=())
    strength: float | None = None

    def __post_init__(self) -> None:
        if not self.weights:
            object.__setattr__(self, "weights", (1.0,) * len(self.faces))
        if not len(self.faces) == len(self.seen) == len(self.weights) > 0:
            raise ValueError("faces, seen and weights of a track must have one entry per frame, at least one")
        if self.start < 0:
            raise ValueError(f"a track cannot start at frame {self.start}")
        if not all(0.0 <= w <= 1.0 for w in self.weights):
            raise ValueError("weights of a track must lie between 0 and 1")
        if self.strength is not None and not 0.0 <= self.strength <= 1.0:
            raise ValueError(f"strength of track {self.id} must lie between 0 and 1, got {self.strength}")

    @property
    def stop(self) -> int:
        """Index after the last frame."""
        return self.start + len(self.faces)

    def at(self, index: int) -> Face | None:
        """The face at a frame of the video, or None outside the track."""
        return self.faces[index - self.start] if self.start <= index < self.stop else None
