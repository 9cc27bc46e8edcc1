"""Footage of any length for the benchmarks: the demo's talking face, damaged, looped."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from revisage.demo import RATE, clean_frames, damage


def talking_clip(path: Path, frames: int) -> Path:
    """An H.264 clip of 480x270 with one face of about 115 px in each of its frames."""
    scene = [damage(frame, index) for index, frame in enumerate(clean_frames())]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"preset": "veryfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = 480, 270, "yuv420p"
        for index in range(frames):
            picture = av.VideoFrame.from_ndarray(scene[index % len(scene)], format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path
