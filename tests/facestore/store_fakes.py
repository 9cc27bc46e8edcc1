"""Tracks made by hand for tests of the face store."""

from __future__ import annotations

from datetime import date

import numpy as np

from revisage.core.values import Face
from revisage.faces.alignment import ffhq_template
from revisage.facestore import Consent, FaceSource, KeptFrame, KeptTrack, MadeWith

CONSENT = Consent("Ms Quokkaberg agreed in writing, Zanzibar office", date(2026, 3, 4))
SOURCE = FaceSource("interview-quokka.mp4", "5a" * 32, 12345)
MADE = MadeWith("compact", "cd" * 32, "ef" * 32)


def frame(
    seed: int, *, number: int = 0, left: float = 10.0, size: int = 64, native: float = 300.0, sharpness: float = 0.7
) -> KeptFrame:
    random = np.random.default_rng(seed)
    before, after = random.integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    face = Face((left, 10.0, 60.0, 80.0), ffhq_template(128) + left, 0.9)
    return KeptFrame(number, 40 * number, "1/1000", face, 1.0, native, sharpness, before, after)


def track(
    number: int, *frames: KeptFrame, start: int = 0, stop: int = 50, embedding: np.ndarray | None = None
) -> KeptTrack:
    return KeptTrack(number, start, stop, frames, embedding)


def direction(angle: float) -> np.ndarray:
    vector = np.zeros(128, np.float32)
    vector[:2] = np.cos(angle), np.sin(angle)
    return vector
