"""People made of colours: faces are squares, and whoever has the same colour is the same person."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from revisage.core import Face, Track
from revisage.faces import ffhq_template
from revisage.media import Frame
from revisage.people import Footage
from revisage.readers import FaceReadings, Recogniser

SIDE = 60
COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200), "shadow": (90, 99, 90)}


def identities(crops: np.ndarray) -> np.ndarray:
    """The colour of a crop's middle, less grey, as a vector of length one."""
    middle = crops[:, 96:160, 96:160].reshape(len(crops), -1, 3).mean(axis=1) - 93
    return (middle / np.linalg.norm(middle, axis=1, keepdims=True)).astype(np.float32)


class ColourReader:
    """A face reader that says of every face the same, but who it is."""

    info = None

    def __call__(self, crops: np.ndarray) -> FaceReadings:
        count = len(crops)
        points = np.tile(np.arange(68, dtype=np.float32)[None, :, None], (count, 1, 2))
        expression = np.tile(np.array([0.5, 0.3, 0.2, 0, 0, 0, 0], np.float32), (count, 1))
        pose = np.tile(np.array([10, -5, 2], np.float32), (count, 1))
        return FaceReadings(identities(crops), pose, points, expression, np.ones((count, 68), np.float32))


def recogniser(*, reads: bool = True) -> Recogniser:
    return Recogniser("colours", "0" * 64, identities, ColourReader() if reads else None)


def face_at(left: float, top: float = 20) -> Face:
    landmarks = ffhq_template(SIDE) + np.array([left, top])
    return Face((left, top, SIDE, SIDE), landmarks.astype(np.float32), 0.9)


def film(shots: Sequence[Sequence[str]], frames: int = 5) -> Footage:
    """Shots of some frames each at 10 a second, with people of these colours side by side."""
    pictures, tracks, spans = [], [], []
    for names in shots:
        start = len(pictures)
        canvas = np.full((120, 220, 3), 93, np.uint8)
        for place, name in enumerate(names):
            left = 10 + 100 * place
            canvas[10:95, left - 5 : left + SIDE + 15] = COLOURS[name]
            if name != "shadow":  # a face that tells anything has contrast
                canvas[10:95:4, left - 5 : left + SIDE + 15] += 30
                canvas[12:95:4, left - 5 : left + SIDE + 15] -= 30
            tracks.append(Track(len(tracks), start, (face_at(left),) * frames, (True,) * frames))
        pictures += [canvas] * frames
        spans.append((start, start + frames))
    held = [
        Frame.from_array(each, pts=index, time_base=Fraction(1, 10), index=index) for index, each in enumerate(pictures)
    ]
    return Footage(Path("film.mp4"), 0, list(range(len(held))), Fraction(1, 10), spans, tracks, held=held)
