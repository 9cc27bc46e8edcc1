"""Old prints and films."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from revisage.train.degrade.degradation import (
    Degradation,
    Drawn,
    Image,
    Range,
    Share,
    gaussian_blur,
    grey_of,
    jpeg_recoded,
    reduced_to,
    resized,
    stage,
)

__all__ = ["ArchiveDegradation", "FilmDamage", "Wear", "WearRates", "grain", "sepia"]

_SEPIA = np.array([1.12, 0.98, 0.76])
"""Red, green and blue of a toned print against its grey; luma is kept."""

_LUMA = np.array([0.299, 0.587, 0.114])


class ArchiveDegradation(Degradation):
    """Ranges of the ``archive`` preset; lengths are px of a 512 px face, counts are for one face."""

    grey_probability: Share = Field(default=0.55, description="black and white: input and target")
    sepia_probability: Share = Field(default=0.35, description="share of these in sepia: input and target")
    blur_sigma: Range = Field(default=(0.5, 4.5), description="old lenses, px at 512")
    downsample: Range = Field(default=(1.0, 5.0), description="of the scan, at 512")
    contrast: Range = Field(default=(0.65, 1.0), description="what is left of it")
    black: Range = Field(default=(0.0, 0.16), description="level that black has faded to")
    dye_fade: Range = Field(default=(0.0, 0.2), description="loss of blue, and half as much of green, in colour")
    vignette: Range = Field(default=(0.0, 0.35), description="light lost in the corners")
    uneven: Range = Field(default=(0.0, 0.12), description="deviation of the light over the picture")
    grain_sigma: Range = Field(default=(2.0, 11.0), description="of mid grey, levels")
    grain_size: Range = Field(default=(0.5, 1.8), description="deviation of a grain's spot, px at 512")
    scratches: Range = Field(default=(0.0, 4.0), description="lines down the picture")
    dust: Range = Field(default=(0.0, 22.0), description="specks")
    hairs: Range = Field(default=(0.0, 1.6), description="curls")
    jpeg_quality: Range = Field(default=(60.0, 95.0), description="of the scan")

    def draw(self, size_hw: tuple[int, int], unit: float, random: np.random.Generator) -> FilmDamage:
        """See :meth:`Degradation.draw`."""
        grey = random.random() < self.grey_probability
        black = random.uniform(*self.black)
        fade = 0.0 if grey else random.uniform(*self.dye_fade)
        # Faces that the frame has room for: wear is spread over the whole picture.
        room = size_hw[0] * size_hw[1] / (512 * unit) ** 2
        return FilmDamage(
            grey=bool(grey),
            size_hw=size_hw,
            sepia=bool(grey and random.random() < self.sepia_probability),
            blur_sigma=random.uniform(*self.blur_sigma) * unit,
            reduced_hw=reduced_to(size_hw, max(1.0, random.uniform(*self.downsample) * unit)),
            white=min(1.0, black + random.uniform(*self.contrast)),
            black=black,
            dyes=(1.0, 1.0 - fade / 2, 1.0 - fade),
            light=_light(random.uniform(*self.vignette), random.uniform(*self.uneven), random),
            grain_sigma=random.uniform(*self.grain_sigma),
            grain_size=random.uniform(*self.grain_size) * unit,
            wear=WearRates(
                grey=False,
                unit=unit,
                scratches=random.uniform(*self.scratches) * math.sqrt(room),
                dust=random.uniform(*self.dust) * room,
                hairs=random.uniform(*self.hairs) * room,
            ),
            jpeg_quality=round(random.uniform(*self.jpeg_quality)),
        )

    def damage(self, frames: Iterable[Image], drawn: FilmDamage, random: np.random.Generator) -> Iterator[Image]:
        """See :meth:`Degradation.damage`: grain and dust are new in each frame, scratches and hairs last."""
        grains, wear = stage(random), Wear(drawn.wear, drawn.size_hw, stage(random))
        for frame in frames:
            printed = drawn.printed(frame, grains)
            scanned = resized(wear.worn(printed), drawn.reduced_hw, cv2.INTER_AREA)
            yield drawn.toned(resized(jpeg_recoded(scanned, drawn.jpeg_quality), drawn.size_hw, cv2.INTER_LINEAR))

    def target(self, image: Image, drawn: Drawn) -> Image:
        """The source in the print's tone: a restorer must not colour a face in a sepia picture."""
        assert isinstance(drawn, FilmDamage)
        return drawn.toned(super().target(image, drawn))


@dataclass(frozen=True)
class FilmDamage(Drawn):
    """What was drawn of an :class:`ArchiveDegradation`; lengths in px of the image.

    Attributes:
        black, white: levels, 0 to 1, that black and white have faded to.
        dyes: what is left of red, green and blue.
        light: (8, 8) float32, over the picture.
    """

    size_hw: tuple[int, int]
    sepia: bool
    blur_sigma: float
    reduced_hw: tuple[int, int]
    black: float
    white: float
    dyes: tuple[float, float, float]
    light: NDArray[np.float32]
    grain_sigma: float
    grain_size: float
    wear: WearRates
    jpeg_quality: int

    def printed(self, image: Image, random: np.random.Generator) -> Image:
        """A frame on old film: soft, faded, unevenly lit, grainy."""
        image = gaussian_blur(grey_of(image) if self.grey else image, self.blur_sigma, self.blur_sigma, 0.0)
        levels = np.linspace(self.black, self.white, 256, dtype=np.float32)[:, None]
        faded = cv2.LUT(image, (levels * np.array(self.dyes, np.float32) * 255)[None])
        faded *= cv2.resize(self.light, self.size_hw[::-1], interpolation=cv2.INTER_CUBIC)[..., None]
        faded += grain(image, self.grain_sigma, self.grain_size, random)[..., None]
        return np.clip(np.rint(faded), 0, 255).astype(np.uint8)

    def toned(self, image: Image) -> Image:
        """A grey image in the print's tone."""
        return sepia(image) if self.sepia else image


def sepia(image: Image) -> Image:
    """A grey (H, W, 3) image in brown; luma stays where no channel is full."""
    gains = _SEPIA / (_SEPIA @ _LUMA)
    table = np.clip(np.rint(np.arange(256)[:, None] * gains), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), dtype=np.uint8)


def grain(image: Image, sigma: float, size: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Noise (H, W) of a film: alike over ``size`` px, of deviation ``sigma`` in mid grey, less in black and white."""
    noise = random.standard_normal(image.shape[:2], dtype=np.float32)
    if size > 0.3:
        noise = cv2.GaussianBlur(noise, (0, 0), size, borderType=cv2.BORDER_REFLECT_101)
        noise *= np.float32(sigma / max(float(noise.std()), 1e-6))
    else:
        noise *= np.float32(sigma)
    levels = np.arange(256, dtype=np.float32) / 255
    # A coverage of p by grains varies with p (1 - p); some fog is on black and white too.
    strength = 0.3 + 0.7 * np.sqrt(4 * levels * (1 - levels))
    grained: NDArray[np.float32] = noise * cv2.LUT(image[..., 1], strength.astype(np.float32))
    return grained


def _light(vignette: float, uneven: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Light over the picture on a grid: brightest near the middle, with slow changes on top."""
    y, x = np.mgrid[-1:1:8j, -1:1:8j]
    centre = random.uniform(-0.3, 0.3, size=2)
    corners = 1 - vignette * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 2
    slow = cv2.resize(random.standard_normal((3, 3)), (8, 8), interpolation=cv2.INTER_CUBIC) * uneven
    return np.asarray(np.clip(corners + slow, 0.2, 1.3), dtype=np.float32)


_SCRATCH_LASTS, _HAIR_LASTS = (4, 40), (10, 120)
"""Frames that a scratch and a hair last, at the least and at the most; dust is gone with its frame."""

_SHIFT = 4
"""OpenCV draws to 1/16 of a px."""


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
