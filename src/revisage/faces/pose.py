"""How far a face is turned away, from its five landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["frontality"]

# Distance of the eyes over distance from eyes to mouth: 0.96 in the FFHQ template, near 0.2 in profile.
_PROFILE, _TURNED = 0.22, 0.5


def frontality(landmarks: ArrayLike) -> float:
    """1 for a face that looks roughly this way, falling smoothly to 0 in full profile.

    The eyes close up as a head turns (with the cosine of its yaw) while the way from eyes to mouth stays; a nod
    shortens the latter and changes nothing here.

    Args:
        landmarks: ``(5, 2)`` px, in any rotation and size.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    down = points[3:].mean(axis=0) - points[:2].mean(axis=0)
    length = float(np.hypot(*down))
    if length < 1e-6:
        return 1.0
    eyes = points[1] - points[0]
    across = abs(float(eyes[0] * down[1] - eyes[1] * down[0])) / length**2
    ramp = min(1.0, max(0.0, (across - _PROFILE) / (_TURNED - _PROFILE)))
    return ramp * ramp * (3 - 2 * ramp)
