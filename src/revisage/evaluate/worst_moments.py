"""The moments worth looking at: where a method is at its worst and where methods differ most; and pictures of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from revisage.core import Image, Region
from revisage.evaluate.comparison import methods_of
from revisage.evaluate.evaluation import EvaluateSettings, FileEvaluation
from revisage.evaluate.evaluator import resized
from revisage.evaluate.pairing import Pairs
from revisage.measures import MEASURES

__all__ = ["MomentPictures", "Spot", "read_pictures", "worst_spots"]

_JUDGES = ("ssim", "psnr", "vggd", "lpips", "tmse")
"""Measures that a moment is judged by: the first one that has values."""
_LONGEST = 512
"""Longer side of a picture in the page (px)."""
_AROUND = 0.35
"""What is shown around a face, as a part of its longer side."""


@dataclass(frozen=True)
class Spot:
    """A moment to look at: its place in :attr:`FileEvaluation.seconds`, and why."""

    place: int
    reason: str


@dataclass(frozen=True, eq=False)
class MomentPictures:
    """The same part of the same moment of every side: ``(h, w, 3) uint8 RGB`` by name."""

    seconds: float
    frame: int
    reason: str
    images: Mapping[str, Image]


def worst_spots(file: FileEvaluation) -> list[Spot]:
    """At most one moment per method, the worst, and the one where methods differ most; in order of time."""
    judge = _judge(file)
    if judge is None:
        return [Spot(0, "the only one measured")] if file.frames else []
    area, key = judge
    info = MEASURES[key]
    reasons: dict[int, list[str]] = {}
    series = {
        name: file.sides[name].area(area)[key].series for name in methods_of(file) if key in file.sides[name].area(area)
    }
    sign = 1 if info.better == "higher" else -1
    for name, values in series.items():
        known = [(sign * value, place) for place, value in enumerate(values) if value is not None]
        if known:
            reasons.setdefault(min(known)[1], []).append(
                f"lowest {info.title} of {name}" if sign > 0 else f"highest {info.title} of {name}"
            )
    spread = _widest(list(series.values()))
    if len(series) > 1 and spread is not None:
        reasons.setdefault(spread, []).append(f"methods differ most in {info.title}")
    return [Spot(place, "; ".join(texts)) for place, texts in sorted(reasons.items())]


def _judge(file: FileEvaluation) -> tuple[str, str] | None:
    """The area and measure to judge by: inside faces where there are any."""
    for area in ("faces", "whole"):
        for key in _JUDGES:
            scores = [file.sides[name].area(area).get(key) for name in methods_of(file)]
            if any(score is not None and any(value is not None for value in score.series) for score in scores):
                return area, key
    return None


def _widest(series: list[list[float | None]]) -> int | None:
    spreads = []
    for place, values in enumerate(zip(*series, strict=True)):
        known = [value for value in values if value is not None]
        if len(known) > 1:
            spreads.append((max(known) - min(known), -place))
    return -max(spreads)[1] if spreads else None


def read_pictures(file: FileEvaluation, settings: EvaluateSettings) -> list[MomentPictures]:
    """Pictures of the moments that :func:`worst_spots` names, of the largest face or of the whole frame.

    Raises:
        InputError: a file cannot be read any more.
    """
    spots = {file.frames[spot.place]: spot for spot in worst_spots(file)}
    if not spots:
        return []
    paths = {name: Path(side.path) for name, side in file.sides.items()}
    reference = paths.pop("reference")
    plain = settings.model_copy(update={"every": 1, "max_frames": max(spots) + 1})
    found = []
    for moment in Pairs(reference, paths, plain):
        spot = spots.get(moment.index)
        if spot is None:
            continue
        region = _region(file, spot.place)
        frames = {"reference": moment.reference, **moment.sides}
        images = {name: _part(frame.rgb(), file.size_hw, region) for name, frame in frames.items()}
        found.append(MomentPictures(file.seconds[spot.place], moment.index, spot.reason, images))
    return found


def _region(file: FileEvaluation, place: int) -> Region:
    height, width = file.size_hw
    faces = file.regions[place] if place < len(file.regions) else []
    if not faces:
        return Region(0, 0, width, height)
    face = max(faces, key=lambda one: (one.right - one.left) * (one.bottom - one.top))
    around = round(_AROUND * max(face.right - face.left, face.bottom - face.top))
    return Region(
        max(0, face.left - around),
        max(0, face.top - around),
        min(width, face.right + around),
        min(height, face.bottom + around),
    )


def _part(image: Image, size_hw: tuple[int, int], region: Region) -> Image:
    """A region of an image brought to the compared size, at most 512 px long."""
    part = resized(image, size_hw)[region.slices]
    factor = _LONGEST / max(part.shape[:2])
    if factor < 1:
        size_wh = max(1, round(part.shape[1] * factor)), max(1, round(part.shape[0] * factor))
        part = np.asarray(cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(part)
