"""How expressive a face is along its track: the mouth and eyes move, beyond what the whole face does.

A frame's face is aligned to the FFHQ template and made grey with its contrast divided out. What changes in the mouth
and eyes from one look to the next, less what changes in the forehead and nose (noise, compression, light, jitter of
the alignment), is expression. The change of the mouth's width over time is added from the landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Face
from revisage.datasets.signs import edge_blur
from revisage.faces import align, frontality
from revisage.media import Frame

__all__ = ["FaceLook", "FaceWatch", "expressiveness"]

_SIDE = 96
_SIGNED_FACE = 128
# Rows and columns of parts of a 96 px crop in FFHQ framing.
_MOUTH = slice(61, 80), slice(32, 65)
_EYES = slice(38, 52), slice(28, 69)
_CALM = (slice(20, 33), slice(32, 65)), (slice(46, 58), slice(43, 54))
_EYES_SHARE = 0.5


@dataclass(frozen=True)
class FaceLook:
    """A face at one moment.

    Attributes:
        index: of the frame in the scan.
        change: of mouth and eyes since the last look, in parts of the face's contrast; 0 at the first.
        mouth: width of the mouth over the distance of the eyes.
        size: longer side of the box (px).
        frontality: 1 facing the camera, 0 in profile.
        blur: standard deviation (px of a face 128 px wide) of the sharpest edges.
    """

    index: int
    change: float
    mouth: float
    size: float
    frontality: float
    blur: float


class FaceWatch:
    """Looks at one track's face now and again, in order."""

    def __init__(self) -> None:
        self.looks: list[FaceLook] = []
        self._last: NDArray[np.float32] | None = None

    def add(self, index: int, frame: Frame, face: Face) -> None:
        """Take the face of the next frame that is looked at."""
        crop = align(frame, face, _SIDE).crop
        grey = _levelled(crop)
        change = 0.0 if self._last is None else _change(self._last, grey)
        self._last = grey
        left, right = face.landmarks[3], face.landmarks[4]
        eyes = float(np.hypot(*(face.landmarks[1] - face.landmarks[0])))
        mouth = float(np.hypot(*(right - left))) / max(eyes, 1e-3)
        self.looks.append(FaceLook(index, change, mouth, face.size, frontality(face.landmarks), _blur(frame, face)))


def expressiveness(looks: list[FaceLook]) -> float:
    """Mean change from look to look, and the spread of the mouth's width: about 0.02 at rest, 0.1 in lively speech."""
    if len(looks) < 2:
        return 0.0
    return float(np.mean([look.change for look in looks[1:]]) + np.std([look.mouth for look in looks]))


def _levelled(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = cv2.GaussianBlur(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    face = grey[20:84, 24:72]
    return np.asarray((grey - face.mean()) / (face.std() + 4), dtype=np.float32)


def _change(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    step = np.abs(after - before)
    calm = float(np.mean([step[part].mean() for part in _CALM]))
    mouth, eyes = float(step[_MOUTH].mean()) - calm, float(step[_EYES].mean()) - calm
    return max(0.0, mouth) + _EYES_SHARE * max(0.0, eyes)


def _blur(frame: Frame, face: Face) -> float:
    """Of the face at its own pixels, told as if the face were 128 px wide."""
    crop = align(frame, face, max(_SIDE, min(256, round(2 * face.size)))).crop
    side = crop.shape[0]
    inner = crop[side // 5 : side - side // 8, side // 5 : side - side // 5]
    luma = cv2.cvtColor(np.ascontiguousarray(inner), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return edge_blur(luma)[0] * 2 * _SIGNED_FACE / side
