"""The demo: damage a clip of a talking face, restore it, and measure what changed against the undamaged clip.

The footage is made here: a public-domain portrait that moves and talks, clean and damaged, with a voice-like sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage import measures, media
from revisage.api import restore
from revisage.core import Image, ProgressCallback, Region, output_error

__all__ = [
    "FRAMES",
    "RATE",
    "SAMPLE_RATE",
    "SIZE_HW",
    "DemoResult",
    "clean_frames",
    "damage",
    "face_region",
    "run_demo",
    "speech",
    "write_demo_clip",
]

SIZE_HW = (270, 480)
RATE = 25
FRAMES = 100
SAMPLE_RATE = 48000

_SCALE = 1.35
"""Output px per px of the portrait: the face is about 115 px wide."""

_CENTRE, _FACE, _MOUTH = (233.0, 122.0), (225.0, 128.0), (224.0, 147.0)
"""In the portrait, px: the middle of the window, of the face and of the mouth."""

_NIQE_EVERY = 10
"""NIQE is pooled over every tenth frame: more change it by less than 0.1."""


@dataclass(frozen=True)
class DemoResult:
    """Where the results are, and the measures inside the face before and after.

    Attributes:
        damaged, restored, comparison, report: files that were written.
        frames: of the clip.
        fps: frames per second, the scan and the loading of networks included.
        psnr: dB against the undamaged clip, (damaged, restored): higher is better.
        niqe: without a reference, (damaged, restored, undamaged): lower is better.
    """

    damaged: Path
    restored: Path
    comparison: Path
    report: Path
    frames: int
    fps: float
    psnr: tuple[float, float]
    niqe: tuple[float, float, float]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}

    def lines(self) -> list[str]:
        """The result for people."""
        gain = self.psnr[1] - self.psnr[0]
        return [
            f"damaged     {self.damaged}",
            f"restored    {self.restored}",
            f"compared    {self.comparison}",
            f"report      {self.report}",
            f"{self.frames} frames at {self.fps:.1f} frames/s",
            f"PSNR of the face  {self.psnr[0]:.2f} -> {self.psnr[1]:.2f} dB ({gain:+.2f}; higher is better)",
            f"NIQE of the face  {self.niqe[0]:.2f} -> {self.niqe[1]:.2f} "
            f"(lower is better; the undamaged clip has {self.niqe[2]:.2f})",
        ]


def run_demo(folder: Path, *, progress: ProgressCallback | None = None) -> DemoResult:
    """Write a damaged clip, its restoration, both side by side, and a report into ``folder``; measure the change.

    Files of an earlier demo are replaced. Needs no network.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from None
    damaged, restored = folder / "damaged.mp4", folder / "restored.mp4"
    comparison, report_path = folder / "side_by_side.mp4", folder / "report.json"
    write_demo_clip(damaged)
    report = restore(
        damaged, restored, compare=comparison, report=report_path, overwrite=True, progress=progress
    ).files[0]
    psnrs, niqes = _measure(damaged, restored)
    return DemoResult(
        damaged, restored, comparison, report_path, report.frames, report.timings.frames_per_second, psnrs, niqes
    )


def _measure(damaged: Path, restored: Path) -> tuple[tuple[float, float], tuple[float, float, float]]:
    """PSNR of both against the undamaged face, mean over frames; NIQE of all three."""
    psnrs: list[tuple[float, float]] = []
    kept: list[tuple[Image, ...]] = []
    with media.open_source(damaged) as before, media.open_source(restored) as after:
        for index, (clean, one, other) in enumerate(zip(clean_frames(), before.frames(), after.frames(), strict=True)):
            region = face_region(index)
            target = np.ascontiguousarray(clean[region.slices])
            faces = one.rgb(region), other.rgb(region), target
            psnrs.append((measures.psnr(faces[0], target), measures.psnr(faces[1], target)))
            if index % _NIQE_EVERY == 0:
                kept.append(faces)
    means = np.mean(psnrs, axis=0)
    scores = [measures.niqe([faces[i] for faces in kept]) for i in range(3)]
    return (round(float(means[0]), 2), round(float(means[1]), 2)), (
        round(scores[0], 2),
        round(scores[1], 2),
        round(scores[2], 2),
    )


def write_demo_clip(path: Path) -> None:
    """Write the damaged clip, with its sound.

    Raises:
        OutputError: it cannot be written.
    """
    with media.open_plain_video(
        path, size_hw=SIZE_HW, rate=RATE, crf=28, audio=speech()[:, None], sample_rate=SAMPLE_RATE
    ) as video:
        for index, frame in enumerate(clean_frames()):
            video.write(damage(frame, index))


def clean_frames() -> Iterator[Image]:
    """The undamaged clip: ``FRAMES`` images ``(270, 480, 3) uint8`` RGB."""
    portrait = _portrait()
    for index in range(FRAMES):
        yield _frame(portrait, index)


def damage(frame: Image, index: int) -> Image:
    """What a cheap camera and a small file leave of a frame: blur, half the size, noise. Same size, RGB uint8."""
    height, width = frame.shape[:2]
    small = cv2.resize(
        cv2.GaussianBlur(frame, (0, 0), 1.3), (width // 2, height // 2), interpolation=cv2.INTER_AREA
    ).astype(np.float32)
    small += np.random.default_rng(index).normal(0, 6, small.shape)
    enlarged = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(enlarged), 0, 255).astype(np.uint8)


def speech() -> NDArray[np.float32]:
    """A voice-like sound, ``(samples,) float32`` in -1..1: a buzz through two formants, loud when the mouth opens."""
    count = FRAMES * SAMPLE_RATE // RATE
    time = np.arange(count) / SAMPLE_RATE
    opening = np.interp(time * RATE, np.arange(FRAMES), [_opening(i) for i in range(FRAMES)])
    pitch = 190 + 25 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = np.zeros(count)
    for harmonic in range(1, 16):
        frequency = harmonic * pitch
        vowel = np.exp(-(((frequency - 650) / 250) ** 2)) + 0.6 * np.exp(-(((frequency - 1200) / 300) ** 2))
        voice += (vowel + 0.15 / harmonic) * np.sin(harmonic * phase)
    return (0.25 * voice * opening / np.abs(voice).max()).astype(np.float32)


def _portrait() -> Image:
    data = (resources.files("revisage") / "demo_data" / "astronaut.webp").read_bytes()
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _opening(index: int) -> float:
    """How far the mouth is open in a frame, 0 to 1: syllables in two phrases."""
    seconds = index / RATE
    phrase = 0.2 < seconds < 1.8 or 2.2 < seconds < 3.7
    return max(0.0, float(np.sin(2 * np.pi * 2.6 * seconds))) if phrase else 0.0


def _frame(portrait: Image, index: int) -> Image:
    """One window of the portrait: drifting, nodding, talking; sampled once, so that it stays sharp."""
    height, width = SIZE_HW
    to_portrait = _view(index)
    columns, rows = np.meshgrid(np.arange(width) - width / 2, np.arange(height) - height / 2)
    x, y = (row[0] * columns + row[1] * rows + row[2] for row in to_portrait)
    y = y - _jaw(x, y, _opening(index))
    return cv2.remap(
        portrait, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )


def _view(index: int) -> NDArray[np.float64]:
    """The ``(2, 3)`` map from a frame, its middle at (0, 0), to the portrait."""
    seconds = index / RATE
    angle = np.deg2rad(2.5 * np.sin(2 * np.pi * 0.35 * seconds))
    scale = _SCALE * (1 + 0.03 * np.sin(2 * np.pi * 0.2 * seconds))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    drift = (7 * np.sin(2 * np.pi * 0.25 * seconds), 2.5 * np.sin(2 * np.pi * 0.5 * seconds))
    return np.column_stack([turn, np.add(_CENTRE, drift)])


def face_region(index: int, *, side: int = 192) -> Region:
    """A square of ``side`` px around the middle of the face in a frame."""
    view = _view(index)
    offset = np.linalg.solve(view[:, :2], np.subtract(_FACE, view[:, 2]))
    middle = np.add(offset, (SIZE_HW[1] / 2, SIZE_HW[0] / 2))
    left, top = (
        int(np.clip(round(at - side / 2), 0, limit - side)) for at, limit in zip(middle, SIZE_HW[::-1], strict=True)
    )
    return Region(left, top, left + side, top + side)


def _jaw(x: NDArray[np.float64], y: NDArray[np.float64], opening: float) -> NDArray[np.float64]:
    """How many px of the portrait the jaw is lowered at each place: from the lips down, fading below the chin."""
    across = np.exp(-(((x - _MOUTH[0]) / 22) ** 2))
    below = np.clip((y - _MOUTH[1]) / 5, 0, 1) * np.exp(-((np.maximum(y - _MOUTH[1] - 12, 0) / 16) ** 2))
    return 4.0 * opening * across * below
