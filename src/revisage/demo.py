"""The demo: damage a clip of a talking face, restore it, and measure what changed against the undamaged clip."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from revisage.api import restore
from revisage.core import Image, ProgressCallback, output_error
from revisage.demo_scene import clean_frames, face_region, write_demo_clip
from revisage.measures import niqe, psnr
from revisage.media import open_source

__all__ = ["DemoResult", "run_demo"]

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
    psnr, niqe = _measure(damaged, restored)
    return DemoResult(
        damaged, restored, comparison, report_path, report.frames, report.timings.frames_per_second, psnr, niqe
    )


def _measure(damaged: Path, restored: Path) -> tuple[tuple[float, float], tuple[float, float, float]]:
    """PSNR of both against the undamaged face, mean over frames; NIQE of all three."""
    psnrs: list[tuple[float, float]] = []
    kept: list[tuple[Image, ...]] = []
    with open_source(damaged) as before, open_source(restored) as after:
        for index, (clean, one, other) in enumerate(zip(clean_frames(), before.frames(), after.frames(), strict=True)):
            region = face_region(index)
            target = np.ascontiguousarray(clean[region.slices])
            faces = one.rgb(region), other.rgb(region), target
            psnrs.append((psnr(faces[0], target), psnr(faces[1], target)))
            if index % _NIQE_EVERY == 0:
                kept.append(faces)
    means = np.mean(psnrs, axis=0)
    scores = [niqe([faces[i] for faces in kept]) for i in range(3)]
    return (round(float(means[0]), 2), round(float(means[1]), 2)), (
        round(scores[0], 2),
        round(scores[1], 2),
        round(scores[2], 2),
    )
