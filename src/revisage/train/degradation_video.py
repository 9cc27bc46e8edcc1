"""Tapes, broadcasts and low-rate video: blur along a path, few pixels, analogue faults, real H.264 and MPEG-2.

A still is coded as the last of a few frames that move a little, so that it shows what a codec's prediction leaves; a
clip is coded as the sequence that it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from revisage.train.blur import convolved, gaussian_blur, path_kernel
from revisage.train.degradation_base import (
    Degradation,
    Drawn,
    Image,
    Range,
    grey_of,
    noisy,
    reduced_to,
    resized,
    stage,
)
from revisage.train.recode import Codec, from_planes, recoded, to_planes
from revisage.train.tape import Deinterlace, TapeDamage, interlaced, taped

__all__ = ["VideoDamage", "VideoDegradation"]

_INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}


class VideoDegradation(Degradation):
    """Ranges of the ``video`` preset. Lengths of blur and reduction are px of a 512 px face; those of tape, fields and
    motion are px of the picture as it was recorded, after the reduction."""

    grey_probability: float = Field(default=0.03, ge=0, le=1, description="input and target both become grey")
    path_probability: float = Field(default=0.35, ge=0, le=1, description="share blurred along a smooth random path")
    path_length: Range = Field(default=(4.0, 28.0), description="length of that path, px at 512")
    blur_sigma: Range = Field(default=(0.3, 3.5), description="the lens, px at 512")
    downsample: Range = Field(default=(1.5, 6.5), description="factor of the reduction, at 512")
    noise_sigma: Range = Field(default=(0.0, 5.0), description="white noise before the codec, levels")
    interlace_probability: float = Field(default=0.3, ge=0, le=1, description="share recorded in two fields")
    deinterlace: tuple[Deinterlace, ...] = Field(default=("none", "line", "blend"), min_length=1)
    motion: Range = Field(default=(0.2, 3.0), description="of a still, px from frame to frame")
    tape_probability: float = Field(default=0.35, ge=0, le=1, description="share that was on tape")
    bleed: Range = Field(default=(1.5, 4.5), description="deviation of the colour's low-pass along a line")
    delay: Range = Field(default=(0.0, 2.5), description="how far the colour lies to the right")
    softness: Range = Field(default=(0.4, 1.1), description="deviation of the luma's low-pass along a line")
    halo: Range = Field(default=(0.1, 0.5), description="overshoot at edges, a part of the step")
    ring_period: Range = Field(default=(2.5, 5.0), description="distance of the rings beside an edge")
    line_jitter: Range = Field(default=(0.0, 0.5), description="deviation of each line's displacement")
    luma_noise: Range = Field(default=(1.0, 6.0), description="levels")
    chroma_noise: Range = Field(default=(1.0, 8.0), description="levels, in streaks along the lines")
    h264_probability: float = Field(default=0.65, ge=0, le=1, description="share coded as H.264, the rest as MPEG-2")
    h264_crf: Range = Field(default=(19.0, 31.0), description="x264's CRF at the reduced size")
    deblock_probability: float = Field(
        default=0.75, ge=0, le=1, description="share of H.264 with its deblocking filter"
    )
    mpeg2_quantiser: Range = Field(default=(2.0, 10.0), description="at the reduced size")
    enlarge: tuple[Literal["linear", "cubic"], ...] = Field(default=("linear", "cubic"), min_length=1)

    def draw(self, size_hw: tuple[int, int], unit: float, random: np.random.Generator) -> VideoDamage:
        """See :meth:`Degradation.draw`."""
        codec: Codec = "h264" if random.random() < self.h264_probability else "mpeg2"
        path = random.random() < self.path_probability
        woven = random.random() < self.interlace_probability
        angle = random.normal(0, 0.5)  # most things move sideways
        speed = random.uniform(*self.motion)
        return VideoDamage(
            grey=bool(random.random() < self.grey_probability),
            size_hw=size_hw,
            path=path_kernel(random.uniform(*self.path_length) * unit, random) if path else None,
            blur_sigma=random.uniform(*self.blur_sigma) * unit,
            reduced_hw=reduced_to(size_hw, max(1.0, random.uniform(*self.downsample) * unit), step=2),
            noise_sigma=random.uniform(*self.noise_sigma),
            fields=self.deinterlace[random.integers(len(self.deinterlace))] if woven else None,
            motion=(speed * math.cos(angle) * random.choice((-1, 1)), speed * math.sin(angle)),
            tape=self._draw_tape(random) if random.random() < self.tape_probability else None,
            codec=codec,
            quality=random.uniform(*(self.h264_crf if codec == "h264" else self.mpeg2_quantiser)),
            deblock=bool(random.random() < self.deblock_probability),
            enlarge=self.enlarge[random.integers(len(self.enlarge))],
        )

    def _draw_tape(self, random: np.random.Generator) -> TapeDamage:
        return TapeDamage(
            grey=False,
            bleed=random.uniform(*self.bleed),
            delay=random.uniform(*self.delay),
            softness=random.uniform(*self.softness),
            halo=random.uniform(*self.halo),
            period=random.uniform(*self.ring_period),
            jitter=random.uniform(*self.line_jitter),
            luma_noise=random.uniform(*self.luma_noise),
            chroma_noise=random.uniform(*self.chroma_noise),
        )

    def damage(self, frames: Iterable[Image], drawn: VideoDamage, random: np.random.Generator) -> Iterator[Image]:
        """See :meth:`Degradation.damage`."""
        return (drawn.enlarged(image) for image in _recorded(map(drawn.reduced, frames), drawn, random))

    def still(self, image: Image, drawn: VideoDamage, random: np.random.Generator) -> Image:
        """The last of a few frames whose picture moves towards this one."""
        *_, last = _recorded(_moments(drawn.reduced(image), drawn, random), drawn, random)
        return drawn.enlarged(last)


@dataclass(frozen=True)
class VideoDamage(Drawn):
    """What was drawn of a :class:`VideoDegradation`; lengths in px of the image, or of the reduced one (see there).

    Attributes:
        path: (k, k) kernel of the motion blur, or None.
        fields: how the picture was deinterlaced; None: it never had fields.
        motion: x and y from frame to frame of a still.
    """

    size_hw: tuple[int, int]
    path: NDArray[np.float32] | None
    blur_sigma: float
    reduced_hw: tuple[int, int]
    noise_sigma: float
    fields: Deinterlace | None
    motion: tuple[float, float]
    tape: TapeDamage | None
    codec: Codec
    quality: float
    deblock: bool
    enlarge: str

    def reduced(self, image: Image) -> Image:
        """A frame as the recorder's sensor gets it."""
        image = grey_of(image) if self.grey else image
        if self.path is not None:
            image = convolved(image, self.path)
        image = gaussian_blur(image, self.blur_sigma, self.blur_sigma, 0.0)
        return resized(image, self.reduced_hw, cv2.INTER_AREA)

    def enlarged(self, image: Image) -> Image:
        """A recorded frame at the size that it came with."""
        return resized(image, self.size_hw, _INTERPOLATIONS[self.enlarge])


def _recorded(frames: Iterable[Image], drawn: VideoDamage, random: np.random.Generator) -> Iterator[Image]:
    """Frames at the recorder's size: two fields, tape, noise and codec."""
    steps = stage(random), stage(random)
    if drawn.fields is not None:
        frames = interlaced(frames, drawn.fields)
    if drawn.tape is not None:
        frames = (taped(frame, drawn.tape, steps[0]) for frame in frames)
    planes = (to_planes(_grained(frame, drawn.noise_sigma, steps[1])) for frame in frames)
    coded = recoded(planes, drawn.codec, drawn.quality, deblock=drawn.deblock)
    return map(from_planes, coded)


def _moments(image: Image, drawn: VideoDamage, random: np.random.Generator) -> Iterator[Image]:
    """A still as a few frames that move; the last shows it where it is, or, of two fields that are seen together, in
    the middle between them."""
    count = int(random.integers(2, 4))
    middle = 0.5 if drawn.fields in ("none", "blend") else 0.0
    for number in range(count):
        steps = number - (count - 1) + middle
        yield _moved(image, drawn.motion[0] * steps, drawn.motion[1] * steps)


def _moved(image: Image, x: float, y: float) -> Image:
    if x == 0 and y == 0:
        return image
    affine = np.array([[1, 0, x], [0, 1, y]], np.float64)
    moved = cv2.warpAffine(image, affine, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101)
    return moved.astype(np.uint8, copy=False)


def _grained(image: Image, sigma: float, random: np.random.Generator) -> Image:
    return noisy(image, random.standard_normal(image.shape, dtype=np.float32), sigma)
