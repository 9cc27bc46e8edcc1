"""Animated images: few pixels, few colours, dither."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydantic import Field

from revisage.train.degrade.degradation import (
    INTERPOLATIONS,
    Degradation,
    Drawn,
    Image,
    Range,
    Share,
    gaussian_blur,
    grey_of,
    jpeg_recoded,
    noisy,
    reduced_to,
    resized,
    white_noise,
)

__all__ = ["Dither", "GifDamage", "GifDegradation", "palette_of", "quantised"]

Dither = Literal["none", "ordered", "diffusion"]
_BAYER_2 = np.array([[0, 2], [3, 1]])
"""Bayer's 8 x 8 matrix, centred: thresholds of -1/2 to 1/2."""

_BAYER_4 = np.kron(np.ones((2, 2), int), 4 * _BAYER_2) + np.kron(_BAYER_2, np.ones((2, 2), int))
_BAYER_8 = np.kron(np.ones((2, 2), int), 4 * _BAYER_4) + np.kron(_BAYER_2, np.ones((4, 4), int))
_SAMPLES, _LARGEST_STEP = 1000, 4
"""A palette is found from every so many-th pixel along each side, so that about this many are looked at."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""How much of a difference between colours is seen, by channel."""

_THRESHOLDS = ((_BAYER_8 + 0.5) / 64 - 0.5).astype(np.float32)


class GifDegradation(Degradation):
    """Ranges of the ``gif`` preset; lengths are px of a 512 px face."""

    grey_probability: Share = Field(default=0.03, description="input and target both become grey")
    blur_sigma: Range = Field(default=(0.1, 3.0), description="standard deviation of the blur, px at 512")
    downsample: Range = Field(default=(1.5, 7.0), description="factor of the reduction, at 512")
    noise_sigma: Range = Field(default=(0.0, 3.0), description="white noise at the reduced size, levels")
    jpeg_probability: Share = Field(default=0.5, description="share made from a compressed video")
    jpeg_quality: Range = Field(default=(40.0, 90.0), description="how much it was compressed")
    colours: tuple[Annotated[int, Field(ge=2, le=256)], ...] = Field(
        default=(16, 32, 64, 64, 128, 128, 256, 256, 256), min_length=1, description="sizes of the palette, each drawn"
    )
    dither: tuple[Dither, ...] = Field(default=("none", "ordered", "diffusion", "diffusion"), min_length=1)
    local_palette_probability: Share = Field(
        default=0.5, description="share of clips with a palette for each frame; else that of the first"
    )
    enlarge: tuple[Literal["nearest", "linear", "cubic"], ...] = Field(default=("linear", "linear", "cubic"))

    def draw(self, size_hw: tuple[int, int], unit: float, random: np.random.Generator) -> GifDamage:
        """See :meth:`Degradation.draw`."""
        jpeg = random.random() < self.jpeg_probability
        return GifDamage(
            grey=bool(random.random() < self.grey_probability),
            size_hw=size_hw,
            blur_sigma=random.uniform(*self.blur_sigma) * unit,
            reduced_hw=reduced_to(size_hw, max(1.0, random.uniform(*self.downsample) * unit)),
            noise_sigma=random.uniform(*self.noise_sigma),
            jpeg_quality=round(random.uniform(*self.jpeg_quality)) if jpeg else None,
            colours=self.colours[random.integers(len(self.colours))],
            dither=self.dither[random.integers(len(self.dither))],
            local_palette=bool(random.random() < self.local_palette_probability),
            enlarge=self.enlarge[random.integers(len(self.enlarge))],
        )

    def damage(self, frames: Iterable[Image], drawn: GifDamage, random: np.random.Generator) -> Iterator[Image]:
        """See :meth:`Degradation.damage`."""
        palette: Image | None = None
        for frame in frames:
            small = drawn.reduced(frame, random)
            if palette is None or drawn.local_palette:
                palette = palette_of(small, drawn.colours)
            few = quantised(small, palette, drawn.dither)
            yield resized(few, drawn.size_hw, INTERPOLATIONS[drawn.enlarge])


@dataclass(frozen=True)
class GifDamage(Drawn):
    """What was drawn of a :class:`GifDegradation`; lengths in px of the image."""

    size_hw: tuple[int, int]
    blur_sigma: float
    reduced_hw: tuple[int, int]
    noise_sigma: float
    jpeg_quality: int | None
    colours: int
    dither: Dither
    local_palette: bool
    enlarge: str

    def reduced(self, image: Image, random: np.random.Generator) -> Image:
        """A frame as the encoder of the GIF gets it."""
        image = grey_of(image) if self.grey else image
        image = resized(gaussian_blur(image, self.blur_sigma, self.blur_sigma, 0.0), self.reduced_hw, cv2.INTER_AREA)
        image = noisy(image, white_noise(image.shape, random), self.noise_sigma)
        return image if self.jpeg_quality is None else jpeg_recoded(image, self.jpeg_quality)


def palette_of(image: Image, colours: int) -> Image:
    """The (n, 3) uint8 colours, at most ``colours`` of them, that an adaptive palette gives an image.

    Median cut (Heckbert, SIGGRAPH 1982): boxes of pixels are halved across their longest side until there are enough;
    each gives its mean. Here all boxes are halved at once, and the most populous ones of the last round.
    """
    step = min(_LARGEST_STEP, max(1, round((image.shape[0] * image.shape[1] / _SAMPLES) ** 0.5)))
    pixels = image[::step, ::step].reshape(-1, 3)
    bounds = np.array([0, len(pixels)])
    while len(bounds) <= colours:
        pixels, cuts = _halved(pixels, bounds, colours + 1 - len(bounds))
        if not len(cuts):
            break
        bounds = np.sort(np.concatenate((bounds, cuts)))
    sums = np.add.reduceat(pixels, bounds[:-1], dtype=np.float64)
    return np.rint(sums / np.diff(bounds)[:, None]).astype(np.uint8)


def _halved(pixels: Image, bounds: NDArray[np.intp], most: int) -> tuple[Image, NDArray[np.intp]]:
    """Pixels sorted within each box along its longest side, and where to cut the ``most`` populous boxes in halves."""
    starts, sizes = bounds[:-1], np.diff(bounds)
    sides = np.maximum.reduceat(pixels, starts) - np.minimum.reduceat(pixels, starts)
    box = np.arange(len(starts), dtype=np.uint16).repeat(sizes)
    along = (sides * _LUMA).argmax(axis=1)[box]
    keys = (box << 8) | pixels[np.arange(len(pixels)), along]
    # Stable, so that pixels of equal keys lie in the same order on any machine.
    order = keys.argsort(kind="stable")
    keys = keys[order]
    edges = (keys[1:] != keys[:-1]).nonzero()[0] + 1
    chosen = sides.any(axis=1).nonzero()[0]
    chosen = chosen[(-sizes[chosen]).argsort(kind="stable")[:most]]
    return pixels[order], _nearest_edges(edges, starts[chosen], sizes[chosen]) if len(chosen) else chosen


def _nearest_edges(edges: NDArray[np.intp], first: NDArray[np.intp], sizes: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each box the place between two different values that is nearest to its middle; each box has one."""
    middle = first + sizes // 2
    place = edges.searchsorted(middle)
    before, after = edges.take(place - 1, mode="clip"), edges.take(place, mode="clip")
    inside = (after < first + sizes) & ((before <= first) | (after - middle <= middle - before))
    return np.where(inside, after, before)


def quantised(image: Image, palette: Image, dither: Dither) -> Image:
    """The image in the colours of a palette alone, (H, W, 3) uint8 RGB.

    ``diffusion`` is Floyd and Steinberg's (1976), ``ordered`` Bayer's 8 x 8 matrix with a step as wide as the palette's
    mean distance between colours.
    """
    if dither == "ordered":
        height, width = image.shape[:2]
        pattern = np.tile(_THRESHOLDS, (height // 8 + 1, width // 8 + 1))[:height, :width, None]
        step = np.float32(255 / len(palette) ** (1 / 3))
        image = np.clip(np.rint(image + pattern * (step / 2)), 0, 255).astype(np.uint8)
    table = np.vstack((palette, np.repeat(palette[:1], 256 - len(palette), axis=0)))
    carrier = Pillow.new("P", (1, 1))
    carrier.putpalette(table.tobytes())
    how = Pillow.Dither.FLOYDSTEINBERG if dither == "diffusion" else Pillow.Dither.NONE
    indexed = Pillow.fromarray(image).quantize(palette=carrier, dither=how)
    return table[np.asarray(indexed)]
