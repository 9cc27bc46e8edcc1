"""Which crops of a person to keep: sharp and frontal first, then others, never the same moment twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidate", "Look", "chosen", "people_of", "score"]

# Frontal is within this many degrees, turned beyond the second, lost beyond the third.
_FRONTAL, _TURNED, _LOST = 12.0, 30.0, 70.0
# Sharpness at which a face has half of the score that detail can give.
_HALF_SHARP = 6.0
# Mean squared difference of two small pictures (deviation 1) under which they show the same moment.
_SAME = 0.07
# Each crop of a pose that is there already lowers the next one's worth to this part.
_REPEATED = 0.85
# Cosine of two identities above which they are one person (measured: other people reach 0.47).
_ONE_PERSON = 0.5


@dataclass(frozen=True, eq=False)
class Look:
    """How a face was judged.

    Attributes:
        native_px: px of the source across the crop.
        outside: part of the crop outside of the picture.
        sharpness: see :func:`revisage.datasets.align_measure.sharpness`.
        yaw: degrees.
        picture: (n, n) float32, the crop in small, mean 0 and deviation 1.
    """

    native_px: float
    outside: float
    sharpness: float
    yaw: float
    picture: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A face that may be kept: its track, its frame's number in the source, its look and score."""

    track: int
    index: int
    look: Look
    score: float


def score(look: Look) -> float:
    """Worth of a crop, 0 to 1: detail, times how far it looks this way."""
    detail = look.sharpness / (look.sharpness + _HALF_SHARP)
    turned = min(1.0, max(0.0, (abs(look.yaw) - _FRONTAL) / (_LOST - _FRONTAL)))
    return detail * (1 - 0.5 * turned) * (1 - look.outside)


def chosen(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """At most ``count`` of one person's candidates, the best first.

    Greedy: the next is the one whose score, lowered for each crop of its pose already taken, is highest; one that
    shows nearly the same picture as a taken one is passed over. Pose is frontal, half turned or turned, to either side.
    """
    rest = sorted(candidates, key=lambda one: (-one.score, one.track, one.index))
    taken: list[Candidate] = []
    poses: Counter[int] = Counter()
    while rest and len(taken) < count:
        best = max(rest, key=lambda one: one.score * _REPEATED ** poses[_pose(one.look.yaw)])
        taken.append(best)
        poses[_pose(best.look.yaw)] += 1
        rest = [one for one in rest if one is not best and not _alike(one.look, best.look)]
    return taken


def people_of(vectors: Sequence[NDArray[np.float32]]) -> list[int]:
    """A person's number for each unit vector: that of the person whose mean is nearest, or a new one."""
    sums: list[NDArray[np.float32]] = []
    people: list[int] = []
    for vector in vectors:
        cosines = [float(vector @ total) / max(float(np.linalg.norm(total)), 1e-6) for total in sums]
        best = int(np.argmax(cosines)) if cosines else -1
        if best >= 0 and cosines[best] >= _ONE_PERSON:
            sums[best] = sums[best] + vector
        else:
            best = len(sums)
            sums.append(vector.copy())
        people.append(best)
    return people


def _pose(yaw: float) -> int:
    side = 1 if yaw > 0 else -1
    return 0 if abs(yaw) < _FRONTAL else side * (1 if abs(yaw) < _TURNED else 2)


def _alike(one: Look, other: Look) -> bool:
    return float(np.square(one.picture - other.picture).mean()) < _SAME
