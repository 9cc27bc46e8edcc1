"""Large faces of today's footage: what cameras, codecs and editors do to single pixels, mixed and chained.

Lengths are px of the picture as it is, whatever the size of the face in it: a sensor's noise and a codec's blocks do
not grow with the face. Each step is there or not by a probability of its own and its strength is drawn widely, so that
a net learns to tell how much there is to do; a share of the pictures stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from revisage.core import Image
from revisage.train.degrade.degradation import (
    INTERPOLATIONS,
    Degradation,
    Drawn,
    Range,
    Share,
    from_planes,
    gaussian_blur,
    grey_of,
    jpeg_recoded,
    moved_by,
    recoded,
    reduced_to,
    resized,
    stage,
    to_planes,
    white_noise,
)
from revisage.train.degrade.film import grain

__all__ = ["LargeDamage", "LargeDegradation"]

_Codec = Literal["jpeg", "h264", "mpeg2"]


class LargeDegradation(Degradation):
    """Ranges of the ``large`` preset, in the order in which they are applied."""

    grey_probability: Share = Field(default=0.02, description="input and target both become grey")
    light_probability: Share = Field(default=0.2, description="share in coloured light: input and target")
    light: Range = Field(default=(0.2, 1.15), description="what it leaves of each colour")
    clean_probability: Share = Field(default=0.1, description="share that stays as it is")
    small_probability: Share = Field(default=0.2, description="share that was smaller: enlarged at the end")
    downsample: Range = Field(default=(1.3, 3.0), description="factor of that")
    shrink: tuple[Literal["area", "linear", "cubic"], ...] = Field(default=("area", "area", "linear", "cubic"))
    blur_probability: Share = 0.3
    blur_sigma: Range = Field(default=(0.4, 1.8), description="of a Gaussian")
    halo_probability: Share = Field(default=0.15, description="share sharpened by the camera")
    halo: Range = Field(default=(0.2, 1.5), description="amount of the unsharp mask")
    halo_sigma: Range = Field(default=(0.7, 2.0), description="of its Gaussian")
    interlace_probability: Share = Field(default=0.05, description="share whose odd lines are shifted")
    interlace_shift: Range = Field(default=(0.4, 3.0), description="of those lines, either way")
    noise_probability: Share = Field(default=0.65, description="share with a sensor's noise")
    noise_sigma: Range = Field(default=(1.0, 25.0), description="in mid grey, levels, each octave as likely")
    shot: Range = Field(default=(0.0, 1.0), description="part of the variance that grows with the light (Poisson)")
    colour_noise: Range = Field(default=(0.0, 1.0), description="0: alike in all colours, 1: each its own")
    noise_size: Range = Field(default=(0.0, 0.8), description="deviation of a spot of noise; half of all are 0")
    chroma_probability: Share = Field(default=0.2, description="share with blotches of colour")
    chroma_sigma: Range = Field(default=(2.0, 14.0), description="of both colour differences, levels")
    chroma_size: Range = Field(default=(0.5, 3.0), description="deviation of a blotch")
    grain_probability: Share = Field(default=0.12, description="share with a film's grain")
    grain_sigma: Range = Field(default=(2.0, 14.0), description="of mid grey, levels")
    grain_size: Range = Field(default=(0.4, 1.4), description="deviation of a grain's spot")
    codecs: tuple[tuple[_Codec | None, float], ...] = Field(
        default=((None, 0.25), ("jpeg", 0.3), ("h264", 0.37), ("mpeg2", 0.08)), description="(codec, share)"
    )
    jpeg_quality: Range = Field(default=(13.0, 92.0))
    h264_crf: Range = Field(default=(20.0, 41.0), description="x264's CRF")
    h264_presets: tuple[str, ...] = Field(default=("veryfast", "medium"), min_length=1, description="x264's presets")
    mpeg2_quantiser: Range = Field(default=(2.0, 16.0))
    deblock_probability: Share = Field(default=0.85, description="share of H.264 with its deblocking filter")
    motion: Range = Field(default=(0.0, 2.5), description="of a still that is coded as a clip, px from frame to frame")
    moments: tuple[int, int] = Field(default=(1, 6), description="least and most frames of that clip")
    enlarge: tuple[Literal["linear", "cubic"], ...] = Field(default=("cubic", "cubic", "linear"), min_length=1)
    resaved_probability: Share = Field(default=0.1, description="share saved as JPEG once more, as seen")
    resaved_quality: Range = Field(default=(50.0, 95.0))

    def draw(self, size_hw: tuple[int, int], unit: float, random: np.random.Generator) -> LargeDamage:  # noqa: ARG002
        """See :meth:`Degradation.draw`; ``unit`` counts for nothing here."""
        tone = self._draw_tone(random)
        if random.random() < self.clean_probability:
            return LargeDamage(**tone, size_hw=size_hw, reduced_hw=size_hw)

        def chosen(probability: float, span: Range) -> float:
            value = random.uniform(*span)
            return value if random.random() < probability else 0.0

        factor = max(1.0, chosen(self.small_probability, self.downsample))
        low, high = np.log(self.noise_sigma)
        codec = _drawn_codec(self.codecs, random)
        angle, speed = random.uniform(0, 2 * math.pi), random.uniform(*self.motion)
        return LargeDamage(
            **tone,
            size_hw=size_hw,
            reduced_hw=reduced_to(size_hw, factor, step=2) if factor > 1 else size_hw,
            shrink=self.shrink[random.integers(len(self.shrink))],
            blur_sigma=chosen(self.blur_probability, self.blur_sigma),
            halo=chosen(self.halo_probability, self.halo),
            halo_sigma=random.uniform(*self.halo_sigma),
            shift=chosen(self.interlace_probability, self.interlace_shift) * random.choice((-1.0, 1.0)),
            noise_sigma=math.exp(random.uniform(low, high)) if random.random() < self.noise_probability else 0.0,
            shot=random.uniform(*self.shot),
            colour_noise=random.uniform(*self.colour_noise),
            noise_size=chosen(0.5, self.noise_size),
            chroma_sigma=chosen(self.chroma_probability, self.chroma_sigma),
            chroma_size=random.uniform(*self.chroma_size),
            grain_sigma=chosen(self.grain_probability, self.grain_sigma),
            grain_size=random.uniform(*self.grain_size),
            codec=codec,
            quality=self._quality(codec, random),
            deblock=bool(random.random() < self.deblock_probability),
            preset=self.h264_presets[random.integers(len(self.h264_presets))],
            motion=(speed * math.cos(angle), speed * math.sin(angle)),
            moments=int(random.integers(self.moments[0], self.moments[1] + 1)),
            enlarge=self.enlarge[random.integers(len(self.enlarge))],
            resaved=round(chosen(self.resaved_probability, self.resaved_quality)),
        )

    def _draw_tone(self, random: np.random.Generator) -> dict[str, Any]:
        lit = random.random() < self.light_probability
        red, green, blue = random.uniform(*self.light, size=3) if lit else (1.0, 1.0, 1.0)
        return {"grey": bool(random.random() < self.grey_probability), "light": (red, green, blue)}

    def _quality(self, codec: _Codec | None, random: np.random.Generator) -> float:
        spans = {"h264": self.h264_crf, "mpeg2": self.mpeg2_quantiser}
        return float(random.uniform(*spans.get(codec or "jpeg", self.jpeg_quality)))

    def damage(self, frames: Iterable[Image], drawn: LargeDamage, random: np.random.Generator) -> Iterator[Image]:
        """See :meth:`Degradation.damage`."""
        return map(drawn.enlarged, drawn.coded(drawn.recorded(map(drawn.reduced, frames), stage(random))))

    def still(self, image: Image, drawn: LargeDamage, random: np.random.Generator) -> Image:
        """The last of a few frames whose picture moves towards this one, where a video's codec is drawn."""
        moments = drawn.leading_to(drawn.reduced(image))
        *_, last = drawn.coded(drawn.recorded(moments, stage(random)))
        return drawn.enlarged(last)

    def target(self, image: Image, drawn: Drawn) -> Image:
        """The source in the light of the pair."""
        assert isinstance(drawn, LargeDamage)
        return drawn.toned(image)


def _drawn_codec(shares: tuple[tuple[_Codec | None, float], ...], random: np.random.Generator) -> _Codec | None:
    place = random.random() * sum(share for _, share in shares)
    for codec, share in shares:
        place -= share
        if place < 0:
            return codec
    return shares[-1][0]


@dataclass(frozen=True)
class LargeDamage(Drawn):
    """What was drawn of a :class:`LargeDegradation`; a strength of 0 is a step that is left out.

    Attributes:
        light: what is left of red, green and blue.
        reduced_hw: size that everything but the enlargement happens at.
        shift: of the odd lines, px to the right.
        motion: x and y from frame to frame of a still that is coded as a clip of ``moments`` frames.
        resaved: quality of a last JPEG at the full size.
    """

    size_hw: tuple[int, int]
    reduced_hw: tuple[int, int]
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shrink: str = "area"
    blur_sigma: float = 0.0
    halo: float = 0.0
    halo_sigma: float = 1.0
    shift: float = 0.0
    noise_sigma: float = 0.0
    shot: float = 0.0
    colour_noise: float = 1.0
    noise_size: float = 0.0
    chroma_sigma: float = 0.0
    chroma_size: float = 1.0
    grain_sigma: float = 0.0
    grain_size: float = 0.5
    codec: _Codec | None = None
    quality: float = 90.0
    deblock: bool = True
    preset: str = "veryfast"
    motion: tuple[float, float] = (0.0, 0.0)
    moments: int = 1
    enlarge: str = "cubic"
    resaved: int = 0

    def toned(self, image: Image) -> Image:
        """A frame in the light of the scene."""
        image = grey_of(image) if self.grey else image
        if self.light == (1.0, 1.0, 1.0):
            return image
        table = np.clip(np.rint(np.arange(256)[:, None] * np.array(self.light)), 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(image, table[None]), dtype=np.uint8)

    def reduced(self, image: Image) -> Image:
        """A frame as the camera's processor hands it on: small, soft, sharpened."""
        image = resized(self.toned(image), self.reduced_hw, INTERPOLATIONS[self.shrink])
        if self.blur_sigma > 0:
            image = gaussian_blur(image, self.blur_sigma, self.blur_sigma, 0.0)
        if self.halo > 0:
            soft = cv2.GaussianBlur(image, (0, 0), self.halo_sigma)
            image = cv2.addWeighted(image, 1 + self.halo, soft, -self.halo, 0).astype(np.uint8, copy=False)
        return image

    def leading_to(self, image: Image) -> Iterator[Image]:
        """The frames of a still: where a video's codec follows, a few that move towards it."""
        count = self.moments if self.codec in ("h264", "mpeg2") else 1
        for steps in range(1 - count, 1):
            yield moved_by(image, self.motion[0] * steps, self.motion[1] * steps)

    def recorded(self, frames: Iterable[Image], random: np.random.Generator) -> Iterator[Image]:
        """Frames with lines out of place and with noise, which is new in each."""
        for frame in frames:
            if self.shift:
                frame = frame.copy()
                frame[1::2] = moved_by(frame, self.shift, 0)[1::2]
            yield self._noisy(frame, random)

    def coded(self, frames: Iterable[Image]) -> Iterator[Image]:
        """Frames as the codec leaves them."""
        if self.codec is None:
            return iter(frames)
        if self.codec == "jpeg":
            return (jpeg_recoded(frame, round(self.quality)) for frame in frames)
        planes = map(to_planes, frames)
        coded = recoded(planes, self.codec, self.quality, deblock=self.deblock, preset=self.preset)
        return map(from_planes, coded)

    def enlarged(self, image: Image) -> Image:
        """A frame at the size that it is seen at."""
        image = resized(image, self.size_hw, INTERPOLATIONS[self.enlarge])
        return jpeg_recoded(image, self.resaved) if self.resaved else image

    def _noisy(self, image: Image, random: np.random.Generator) -> Image:
        if not (self.noise_sigma or self.chroma_sigma or self.grain_sigma):
            return image
        levels = image.astype(np.float32)
        if self.noise_sigma:
            levels += self._sensor_noise(image, random)
        if self.chroma_sigma:
            levels += self._blotches(image.shape[:2], random)
        if self.grain_sigma:
            levels += grain(image, self.grain_sigma, self.grain_size, random)[..., None]
        return np.clip(np.rint(levels), 0, 255).astype(np.uint8)

    def _sensor_noise(self, image: Image, random: np.random.Generator) -> NDArray[np.float32]:
        """Poisson and Gaussian noise together: its variance is linear in the light."""
        own, shared = white_noise(image.shape, random), white_noise((*image.shape[:2], 1), random)
        noise = math.sqrt(self.colour_noise) * own + math.sqrt(1 - self.colour_noise) * shared
        noise = _spotted(noise, self.noise_size)
        light = np.arange(256, dtype=np.float32) / 128
        strength = self.noise_sigma * np.sqrt(1 - self.shot + self.shot * light)
        return np.asarray(noise * cv2.LUT(image, strength.astype(np.float32)), dtype=np.float32)

    def _blotches(self, size_hw: tuple[int, int], random: np.random.Generator) -> NDArray[np.float32]:
        """Noise of the colour differences, at constant luma."""
        red, blue = (
            np.moveaxis(_spotted(white_noise((*size_hw, 2), random), self.chroma_size), 2, 0) * self.chroma_sigma
        )
        # BT.601, as codecs take colours apart.
        return np.stack((1.402 * red, -0.714 * red - 0.344 * blue, 1.772 * blue), axis=2).astype(np.float32)


def _spotted(noise: NDArray[np.float32], size: float) -> NDArray[np.float32]:
    """Noise of deviation 1 that is alike over ``size`` px, still of deviation 1."""
    if size < 0.3:
        return noise
    soft = cv2.GaussianBlur(noise, (0, 0), size, borderType=cv2.BORDER_REFLECT_101).reshape(noise.shape)
    return np.asarray(soft / max(float(soft.std()), 1e-6), dtype=np.float32)
