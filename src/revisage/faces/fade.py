"""How far the restoration of a track is faded in, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from revisage.core import Face
from revisage.faces.pose import frontality

__all__ = ["fade_weights"]

# Frames over which a restoration comes and goes.
_FADE = 5
# A gap up to this long is a detector's lapse or a passing hand; a longer one hides the face.
_LAPSE = 8
# Frames over which the turn of the head is averaged.
_STEADY = 7


def fade_weights(
    faces: Sequence[Face], seen: Sequence[bool], *, begins_shot: bool, ends_shot: bool
) -> tuple[float, ...]:
    """Weights 0 to 1 for the frames of a track: a restoration that switches on or off is seen as a flash.

    They rise at a track's start and fall at its end, except where the shot itself begins or ends there; they go to 0
    in gaps too long for a lapse, and follow the turn of the head (a restorer knows little of profiles).

    Args:
        faces: one per frame.
        seen: whether each was seen or filled in.
        begins_shot: the track starts with its shot.
        ends_shot: the track ends with its shot.
    """
    shown = np.array(_in_view(seen), dtype=np.float64)
    # Frames before and after the track: shown beyond a cut, not shown within the shot.
    shown = np.concatenate(([float(begins_shot)] * _FADE, shown, [float(ends_shot)] * _FADE))
    hidden = np.flatnonzero(shown == 0)
    place = np.arange(_FADE, _FADE + len(faces))
    if len(hidden):
        nearest = np.abs(place[:, None] - hidden[None, :]).min(axis=1)
        weights = np.clip(nearest / (_FADE + 1), 0, 1)
    else:
        weights = np.ones(len(faces))
    weights = weights * _steady([frontality(face.landmarks) for face in faces])
    return tuple(round(float(weight), 4) for weight in weights)


def _in_view(seen: Sequence[bool]) -> list[bool]:
    """``seen`` with short lapses counted as seen."""
    view = list(seen)
    start: int | None = None
    for index, here in enumerate(seen):
        if not here and start is None:
            start = index
        elif here and start is not None:
            if index - start <= _LAPSE:
                view[start:index] = [True] * (index - start)
            start = None
    return view


def _steady(values: Sequence[float]) -> np.ndarray:
    """A running mean, narrower at the ends."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    middle = np.arange(len(values))
    reach = np.minimum(np.minimum(middle, len(values) - 1 - middle), _STEADY // 2)
    mean: np.ndarray = (total[middle + reach + 1] - total[middle - reach]) / (2 * reach + 1)
    return np.clip(mean, 0, 1)
