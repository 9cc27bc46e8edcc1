"""Where the parts of a face are in an aligned crop of it: eyes, nose tip and mouth corners, by a detector."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from revisage.faces.alignment import ffhq_template
from revisage.faces.detect import FaceDetector

__all__ = ["COMPONENTS", "TOLERANCE", "crop_landmarks", "kept_components"]

COMPONENTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")

TOLERANCE = 0.15
"""How far a component may be from where it belongs, as a part of the distance between the eyes."""


def crop_landmarks(crop: NDArray[np.uint8], detector: FaceDetector) -> NDArray[np.float32] | None:
    """The landmarks that a detector sees in an aligned crop, ``(5, 2)`` in its px; None where it sees no face there.

    Of several faces the one nearest to where an aligned crop has it counts.

    Args:
        crop: ``(size, size, 3) uint8`` RGB in FFHQ framing.
        detector: finds faces.
    """
    size = crop.shape[0]
    template = ffhq_template(size)
    eyes = _eye_distance(template)
    found = [(float(np.abs(face.landmarks - template).mean()), face.landmarks) for face in detector.candidates(crop)]
    near = [pair for pair in found if pair[0] < eyes]
    return min(near, key=lambda pair: pair[0])[1] if near else None


def kept_components(found: ArrayLike | None, expected: ArrayLike, *, tolerance: float = TOLERANCE) -> list[bool]:
    """For each of :data:`COMPONENTS`, whether it was found again where it belongs.

    Args:
        found: ``(5, 2)`` landmarks (px) in the restored crop; None where there is no face any more.
        expected: ``(5, 2)`` landmarks (px) in the crop before.
        tolerance: as a part of the distance between the eyes.
    """
    if found is None:
        return [False] * len(COMPONENTS)
    before = np.asarray(expected, dtype=np.float64)
    away = np.hypot(*(np.asarray(found, dtype=np.float64) - before).T)
    return [bool(distance <= tolerance * _eye_distance(before)) for distance in away]


def _eye_distance(landmarks: NDArray[np.float64]) -> float:
    return float(np.hypot(*(landmarks[1] - landmarks[0])))
