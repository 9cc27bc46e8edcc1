"""Faces that lie on their side or stand on their head.

A network that knows upright faces hardly finds them, and takes some for upright ones. A branch of it hints where they
are, but not how they lie: so hints are looked at in some turns in small crops, and the neighbourhood of what looks like
a face there is searched in a turned copy, as the whole picture was. What is found scores as an upright face would.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from revisage import nets
from revisage.core import Image
from revisage.faces.detect.candidates import Finder, Found, Picture, SecondLook, overlaps, suppressed
from revisage.faces.detect.compact_finder import upright_crop

__all__ = ["STANDS", "WINDOW", "TurnedFaces", "turned_window", "window_scale"]

WINDOW, _SURROUNDINGS = 128, 2.5
"""A face is looked for near its place in a picture of this side (px), of so many times its size where that is more."""

_ONE_HINT, _ONE_FACE = 0.3, 0.4
"""Hints, and faces, that overlap more than this (IoU) are one."""
_FIRST_HINT = 0.45
"""Where no hint has this score, none is looked at."""
_FIRST_ROUND, _MORE, _SIZE_COUNTS = 4, 4, 0.3
"""Hints that are looked at, the best first; so many times as many in each round after one that found a face. Their
score counts times this power of their size."""
STANDS = 0.95
"""A face with this score stands as it was found: of 269 faces of the test scenes, as they are and turned by 45° to
180°, the surest of 61 that were turned had 0.92."""
_PROMISING, _STILL_PROMISING = 0.4, 0.6
"""Scores of the looks in the best of three turns, and in the turn that its landmarks tell, that lead on."""
_SURER = 0.05
"""A turned face must be surer by this much than the upright one in its place."""
_ALONE, _BESIDE = 0.35, 0.75
"""Parts of the way from the threshold to 1 that a turned face must reach, in a picture without an upright face and
beside one: turned ones are rare, and faces of one picture mostly stand alike."""
_UPRIGHT = 0.5
"""The part that an upright face must reach for the picture to be one with upright faces."""
_LYING = math.radians(45)
"""A face that leans further is one that lies: a network that knows upright faces finds those that lean less."""

Proposer = Callable[[Image], Found]


class TurnedFaces:
    """Finds turned faces where the first stage hints at them.

    Args:
        finder: the first stage.
        look: the second.
        threshold: score from which a detection is a face.
        low_threshold: score from which it may be one.
    """

    def __init__(self, finder: Finder, look: SecondLook, threshold: float, low_threshold: float) -> None:
        self._look = look
        self._propose = functools.partial(finder, min_score=look.lowest)
        self._threshold, self._low_threshold = threshold, low_threshold

    def __call__(self, picture: Picture, hints: Found, standing: Found) -> Found:
        """The faces of a picture, upright and turned.

        Args:
            picture: that was searched.
            hints: places where faces may lie.
            standing: what it holds of upright faces, down to the low threshold.

        Returns:
            ``standing`` without what lies in truth, and the turned faces that are sure.
        """
        hints = suppressed(_unexplained(hints, standing[standing.scores >= STANDS]), _ONE_HINT)
        if not (hints.scores >= _FIRST_HINT).any():
            return standing
        turned = suppressed(Found.joined([Found.none(), *self._rounds(picture, hints)]), _ONE_FACE)
        in_place = np.asarray((overlaps(standing, turned) > _ONE_FACE).any(axis=0))
        settled = self._settled(standing, turned[in_place])
        stands = ~_is_lying(settled.landmarks) & (settled.scores >= self._part(_UPRIGHT))
        least = self._part(_BESIDE if stands.any() else _ALONE)
        return self._settled(settled, turned[~in_place & (turned.scores >= least)])

    def _settled(self, standing: Found, turned: Found) -> Found:
        """Of an upright and a turned face in one place the surer one, and no turned one that is not sure."""
        same = overlaps(standing, turned) > _ONE_FACE
        surer = turned.scores[None] > standing.scores[:, None] + _SURER
        lies = np.asarray((same & surer).any(axis=1))
        stays = ~np.asarray((same & ~surer).any(axis=0)) & (turned.scores >= self._part(_ALONE))
        return Found.joined([standing[~lies], turned[stays]])

    def _rounds(self, picture: Picture, hints: Found) -> Iterator[Found]:
        """Faces that hints lead to, as long as they do."""
        order = np.argsort(-hints.scores * hints.areas ** (_SIZE_COUNTS / 2), kind="stable")
        count = _FIRST_ROUND
        while len(order):
            found = self._among(picture, self._promising(picture, hints[order[:count]]))
            if not (found.scores >= self._part(_ALONE)).any():
                return
            yield found
            order, count = order[count:], _MORE * count

    def _part(self, part: float) -> float:
        """A part of the way from the threshold to 1."""
        return self._threshold + part * (1 - self._threshold)

    def _among(self, picture: Picture, looks: Found) -> Found:
        """Turned faces of the low threshold or more in the neighbourhood of those that look like one."""
        near = [self._search(picture, looks, number) for number in range(len(looks))]
        found = self._look(picture, Found.joined([Found.none(), *near]), self._low_threshold)
        return found[_is_lying(found.landmarks)]

    def _search(self, picture: Picture, looks: Found, number: int) -> Found:
        left, top, right, bottom = looks.boxes_xyxy[number].tolist()
        roll = float(nets.rolls(looks.landmarks[number : number + 1])[0])
        centre = ((left + right) / 2, (top + bottom) / 2)
        return turned_window(self._propose, picture, centre, max(right - left, bottom - top), roll)

    def _promising(self, picture: Picture, hints: Found) -> Found:
        """What looks like a face where hints are."""
        found = self._look.in_turns(picture, nets.crop_affines(hints.boxes_xyxy, np.zeros(len(hints))))
        found = self._upright(picture, found[found.scores >= _PROMISING])
        return found[found.scores >= _STILL_PROMISING]

    def _upright(self, picture: Picture, found: Found) -> Found:
        """What is seen of faces that lean as their landmarks tell."""
        return self._look.at(picture, nets.crop_affines(found.boxes_xyxy, nets.rolls(found.landmarks)))


def _unexplained(hints: Found, faces: Found) -> Found:
    """Hints that are not at or in a face."""
    centres = hints.boxes_xyxy.reshape(-1, 2, 2).mean(axis=1)[:, None]
    inside = ((centres >= faces.boxes_xyxy[None, :, :2]) & (centres <= faces.boxes_xyxy[None, :, 2:])).all(axis=2)
    smaller = hints.areas[:, None] < 2 * faces.areas[None]
    return hints[~(inside & smaller).any(axis=1)]


def turned_window(propose: Proposer, picture: Picture, centre: tuple[float, float], size: float, roll: float) -> Found:
    """What the first stage finds in the neighbourhood of a face, turned upright; in the picture's own pixels.

    Args:
        propose: an ``(H, W, 3) uint8 RGB`` image to detections in it.
        picture: to look in.
        centre: of the face, x and y (px).
        size: of the face (px).
        roll: how far it leans, clockwise in radians.
    """
    scale = window_scale(size)
    cosine, sine = math.cos(roll) * scale, math.sin(roll) * scale
    linear = np.array([[cosine, sine], [-sine, cosine]])
    shift = (WINDOW - 1) / 2 - linear @ np.array(centre)
    found = propose(upright_crop(picture, np.column_stack((linear, shift)), WINDOW))
    return found.mapped(np.linalg.inv(linear), shift)


def window_scale(size: float) -> float:
    """The scale at which a face of a size (px) is looked for near its place: 1 or below."""
    return min(1.0, WINDOW / (_SURROUNDINGS * size))


def _is_lying(landmarks: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of faces with ``(N, 5, 2)`` landmarks lean by more than 45°."""
    return np.abs(nets.rolls(landmarks)) > _LYING
