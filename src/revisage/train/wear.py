"""Scratches, dust and hairs on film: drawn with soft edges, each for as many frames as it lasts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.train.degradation_base import Drawn, Image

__all__ = ["Wear", "WearRates"]

# Frames that a scratch and a hair last, at the least and at the most; dust is gone with its frame.
_SCRATCH_LASTS, _HAIR_LASTS = (4, 40), (10, 120)
# OpenCV draws to 1/16 of a px.
_SHIFT = 4


@dataclass(frozen=True)
class WearRates(Drawn):
    """How many marks a frame shows at a time, on average, and how large they are.

    Attributes:
        unit: px of the frame in one px of a 512 px face.
    """

    unit: float
    scratches: float
    dust: float
    hairs: float


@dataclass(frozen=True)
class _Mark:
    """A line through points (n, 2), x and y in px, or a closed blob."""

    points: NDArray[np.float64]
    width: float
    opacity: float
    light: float
    ends: int
    filled: bool = False


class Wear:
    """The marks on one piece of film, frame after frame."""

    def __init__(self, rates: WearRates, size_hw: tuple[int, int], random: np.random.Generator) -> None:
        self._rates, self._size_hw, self._random = rates, size_hw, random
        self._frame = 0
        # What was there before the first frame has part of its time behind it.
        self._marks = [self._scratch() for _ in range(random.poisson(rates.scratches))]
        self._marks += [self._hair() for _ in range(random.poisson(rates.hairs))]

    def worn(self, image: Image) -> Image:
        """The next frame with its marks, (H, W, 3) uint8 RGB."""
        self._renew()
        dust = [self._speck() for _ in range(self._random.poisson(self._rates.dust))]
        self._frame += 1
        marks = [*self._marks, *dust]
        if not marks:
            return image
        pixels = image.astype(np.float32)
        for bright in (False, True):
            chosen = [mark for mark in marks if (mark.light > 0.5) == bright]
            if chosen:
                pixels = self._laid_on(pixels, chosen)
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)

    def _renew(self) -> None:
        """Old marks go, new ones come, so that their mean number stays."""
        self._marks = [mark for mark in self._marks if mark.ends > self._frame]
        if self._frame == 0:
            return
        for rate, (least, most), make in (
            (self._rates.scratches, _SCRATCH_LASTS, self._scratch),
            (self._rates.hairs, _HAIR_LASTS, self._hair),
        ):
            self._marks += [make() for _ in range(self._random.poisson(2 * rate / (least + most)))]

    def _laid_on(self, pixels: NDArray[np.float32], marks: list[_Mark]) -> NDArray[np.float32]:
        cover = np.zeros(self._size_hw, np.uint8)
        for mark in marks:
            _draw(cover, mark)
        # Nothing on film has edges as sharp as a drawn line.
        share = cv2.GaussianBlur(cover, (0, 0), max(0.45, 0.7 * self._rates.unit)).astype(np.float32)[..., None] / 255
        light = float(np.mean([mark.light for mark in marks]))
        mixed: NDArray[np.float32] = pixels + share * (np.float32(255 * light) - pixels)
        return mixed

    def _scratch(self) -> _Mark:
        """A long thin line down the film that leans and wanders a little."""
        random, (height, width) = self._random, self._size_hw
        top = random.uniform(-0.6, 0.5) * height
        rows = np.linspace(top, top + random.uniform(0.4, 1.6) * height, 12)
        drift = np.cumsum(random.normal(0, 0.6 * self._rates.unit, 12)) + np.linspace(0, random.normal(0, 6), 12)
        points = np.column_stack((random.uniform(0, width) + drift, rows))
        light = random.uniform(0.75, 1.0) if random.random() < 0.75 else random.uniform(0.0, 0.2)
        return _Mark(
            points, self._px(0.5, 1.8), random.uniform(0.25, 0.8), light, self._frame + self._lasts(_SCRATCH_LASTS)
        )

    def _hair(self) -> _Mark:
        """A dark curl: its direction turns at a rate that changes slowly."""
        random, (height, width) = self._random, self._size_hw
        bends = np.cumsum(random.normal(0, 0.06, 40)) + random.normal(0, 0.09)
        angles = random.uniform(0, 2 * math.pi) + np.cumsum(bends)
        step = random.uniform(1.5, 5.0) * self._rates.unit
        points = np.cumsum(np.column_stack((np.cos(angles), np.sin(angles))) * step, axis=0)
        points += random.uniform(0, 1, size=2) * (width, height) - points.mean(axis=0)
        light = random.uniform(0.0, 0.25) if random.random() < 0.7 else random.uniform(0.8, 1.0)
        return _Mark(
            points, self._px(0.8, 1.6), random.uniform(0.5, 0.9), light, self._frame + self._lasts(_HAIR_LASTS)
        )

    def _speck(self) -> _Mark:
        """A blob with an uneven outline; most are small."""
        random, (height, width) = self._random, self._size_hw
        # Sizes of dust are spread evenly over their logarithm.
        radius = self._rates.unit * math.exp(random.uniform(math.log(0.6), math.log(4.5)))
        angles = np.linspace(0, 2 * math.pi, 9)[:-1]
        reach = radius * random.uniform(0.5, 1.4, size=8)
        stretch = random.uniform(0.5, 1.0)
        outline = np.column_stack((np.cos(angles) * reach, np.sin(angles) * reach * stretch))
        centre = random.uniform(0, 1, size=2) * (width, height)
        light = random.uniform(0.85, 1.0) if random.random() < 0.7 else random.uniform(0.0, 0.15)
        return _Mark(outline + centre, 1.0, random.uniform(0.4, 0.95), light, self._frame, filled=True)

    def _px(self, least: float, most: float) -> float:
        return float(self._random.uniform(least, most) * self._rates.unit)

    def _lasts(self, frames: tuple[int, int]) -> int:
        """Frames left to a mark; one of those that are there at the start is in the middle of its time."""
        whole = int(self._random.integers(frames[0], frames[1] + 1))
        return whole if self._frame else int(self._random.integers(1, whole + 1))


def _draw(cover: NDArray[np.uint8], mark: _Mark) -> None:
    """Lay a mark on the cover, in place; a line thinner than a px is drawn one px wide and fainter."""
    points = np.rint(mark.points * (1 << _SHIFT)).astype(np.int32)
    if mark.filled:
        cv2.fillPoly(cover, [points], mark.opacity * 255, cv2.LINE_AA, _SHIFT)
        return
    opacity = mark.opacity * min(1.0, mark.width)
    cv2.polylines(cover, [points], False, opacity * 255, max(1, round(mark.width)), cv2.LINE_AA, _SHIFT)
