"""Stand-ins for the rooms below the pipeline, and scans made by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from revisage.faces.alignment import ffhq_template
from revisage.pipeline.scan import Fingerprint, Scan, ScannedTrack, ScanSettings

FINGERPRINT = Fingerprint(name="clip.mkv", size=1000, sha256="ab" * 32, hashed="whole")
SETTINGS = ScanSettings(detector="compact", detector_hash="cd" * 32)


def landmarks(left: float, top: float, size: float) -> np.ndarray:
    """The landmarks of a frontal face whose FFHQ crop has this corner and side (px)."""
    return ffhq_template(512) * (size / 512) + (left, top)


def track(
    number: int, start: int, frames: int, *, size: float = 60.0, left: float = 40.0, strength: float | None = None
) -> ScannedTrack:
    """A face that stands still."""
    points = [round(float(v), 2) for v in landmarks(left, 20, 2 * size).ravel()]
    return ScannedTrack(
        id=number,
        start=start,
        strength=strength,
        boxes=[(left, 20.0, size * 0.8, size)] * frames,
        landmarks=[points] * frames,
        scores=[0.9] * frames,
        seen=[1] * frames,
        weights=[1.0] * frames,
    )


def scan(
    frames: int = 100, *, shots: list[tuple[int, int]] | None = None, tracks: list[ScannedTrack] | None = None
) -> Scan:
    """A scan of a 240 x 320 px clip."""
    return Scan(
        source=FINGERPRINT,
        settings=SETTINGS,
        size_hw=(240, 320),
        time_base="1/1000",
        pts=[40 * index for index in range(frames)],
        shots=shots or [(0, frames)],
        tracks=tracks or [],
    )


@dataclass
class Brightener:
    """A restorer that makes every crop brighter, and fails on crops whose first pixel says so."""

    size: int = 64
    calls: int = 0
    fails_at: int | None = None

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        self.calls += 1
        assert crops.shape[1:] == (self.size, self.size, 3)
        assert crops.dtype == np.uint8
        if self.fails_at is not None and (crops[:, 0, 0, 0] == self.fails_at).any():
            raise RuntimeError("no luck\nwith this one")
        return np.clip(crops.astype(int) + 40, 0, 255).astype(np.uint8)
