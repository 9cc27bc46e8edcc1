"""Sound and picture stay together from file to file: a flash and a click at one instant, before and after."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from revisage.api import restore

RATE = 48000
FPS = 25
FLASHES = (10, 30, 50)
"""Frames that are white; the click begins with the frame."""
PADDED = ("avi", "mpg", "webm")
"""Sound is encoded anew there, or cannot begin before the picture: its packets tell of the codec's padding as well."""


@pytest.fixture(scope="module")
def clapper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 of 70 dark frames, three of them white, with AAC clicks at the same instants."""
    path = tmp_path_factory.mktemp("sync") / "clapper.mp4"
    sound = np.zeros(70 * RATE // FPS, dtype=np.float32)
    time = np.arange(RATE // 100) / RATE
    click = (0.8 * np.sin(2 * np.pi * 3000 * time) * np.exp(-time * 400)).astype(np.float32)
    for flash in FLASHES:
        start = flash * RATE // FPS
        sound[start : start + len(click)] = click
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        texture = np.random.default_rng(3).integers(0, 40, (120, 160, 3), dtype=np.uint8)
        for index in range(70):
            picture = np.roll(texture, index, axis=1) + np.uint8(210 if index in FLASHES else 10)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for start in range(0, len(sound) - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            container.mux(audio.encode(frame))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return path


def flash_times(path: Path) -> list[float]:
    """When the white frames are shown (s)."""
    with av.open(str(path)) as container:
        return [
            float(frame.pts * frame.time_base)
            for frame in container.decode(video=0)
            if frame.to_ndarray(format="gray").mean() > 128
        ]


def click_times(path: Path) -> list[float]:
    """When the energy of each click is centred (s)."""
    times, levels = [], []
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono")
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                values = part.to_ndarray()[0].astype(np.float64)
                times.append(float(part.pts * part.time_base) + np.arange(len(values)) / part.sample_rate)
                levels.append(values**2)
    time, energy = np.concatenate(times), np.concatenate(levels)
    order = np.argsort(time, kind="stable")
    time, energy = time[order], energy[order]
    loud = np.flatnonzero(energy > energy.max() / 20)
    groups = np.split(loud, np.flatnonzero(np.diff(time[loud]) > 0.1) + 1)
    return [float(np.average(time[group], weights=energy[group])) for group in groups]


def offsets(path: Path) -> list[float]:
    """By how much each click comes after its flash (ms)."""
    flashes, clicks = flash_times(path), click_times(path)
    assert len(flashes) == len(clicks) == len(FLASHES), (flashes, clicks)
    return [1000 * (click - flash) for flash, click in zip(flashes, clicks, strict=True)]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "mpg", "ts", "flv", "wmv", "3gp", "nut"])
def test_click_and_flash_stay_together(clapper: Path, tiny_model: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out.{suffix}"
    report = restore(clapper, output, model=str(tiny_model))
    before, after = offsets(clapper), offsets(output)
    assert after == pytest.approx(before, abs=1.0)
    if suffix not in PADDED:
        assert report.files[0].measures.avs_ms is not None
        assert report.files[0].measures.avs_ms <= 1.0
