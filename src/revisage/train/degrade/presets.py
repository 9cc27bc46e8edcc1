"""Presets of damage that a restorer learns to undo, and how one image or one clip goes through them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from revisage.core import ConfigError, nearest
from revisage.train.degrade.degradation import (
    INTERPOLATIONS,
    REFERENCE_SIZE,
    Degradation,
    Drawn,
    Image,
    Range,
    Share,
    convolved,
    gaussian_blur,
    gaussian_kernel,
    grey_of,
    jpeg_recoded,
    motion_kernel,
    noisy,
    resized,
    stage,
    white_noise,
)
from revisage.train.degrade.film import ArchiveDegradation
from revisage.train.degrade.gif import GifDegradation
from revisage.train.degrade.large import LargeDegradation
from revisage.train.degrade.recordings import VideoDegradation, WebcamDegradation

__all__ = [
    "MIXED",
    "PRESETS",
    "ArchiveDegradation",
    "Degradation",
    "DegradationConfig",
    "GifDegradation",
    "LargeDegradation",
    "PaperDamage",
    "VideoDegradation",
    "WebcamDegradation",
    "degrade",
    "degrade_clip",
    "degrade_frames",
    "find_preset",
    "gaussian_kernel",
    "generator",
    "motion_kernel",
]

_JITTERS = ("brightness", "contrast", "saturation", "hue")
_LEAST_SIDE = 8


class DegradationConfig(Degradation):
    """Ranges are uniform; lengths are in px of a 512-pixel face; colours in levels of 255."""

    blur_sigma: Range = Field(default=(0.1, 10.0), description="standard deviation of the blur, px at 512")
    blur_follows: bool = Field(default=False, description="blur_sigma counts in units of the reduction's factor")
    round_probability: Share = Field(default=0.5, description="share of round (isotropic) kernels")
    motion_probability: Share = Field(default=0.0, description="share with a straight motion blur on top")
    motion_length: Range = Field(default=(2.0, 16.0), description="length of the motion blur, px at 512")
    downsample: Range = Field(default=(0.8, 8.0), description="factor r of the reduction, at 512")
    downsample_octaves: bool = Field(default=False, description="each octave of r is as likely; else each r")
    shrink: tuple[Literal["linear", "cubic", "area"], ...] = Field(default=("linear",), min_length=1)
    enlarge: tuple[Literal["linear", "cubic"], ...] = Field(default=("linear",), min_length=1)
    enlarge_fully: bool = Field(default=False, description="to 512 px, then by area to the size of the face")
    noise_sigma: Range = Field(default=(0.0, 20.0), description="white noise at the reduced size, levels")
    jpeg_quality: Range = Field(default=(60.0, 100.0), description="JPEG quality at the reduced size")
    jpeg_probability: Share = 1.0
    colour_shift_probability: Share = Field(default=0.3, description="a constant added to each channel")
    colour_shift: float = Field(default=20.0, ge=0, le=255)
    colour_jitter_probability: Share = Field(default=0.3, description="brightness, contrast, saturation, hue")
    brightness: Range = (0.5, 1.5)
    contrast: Range = (0.5, 1.5)
    saturation: Range = (0.0, 1.5)
    hue: Range = Field(default=(-0.1, 0.1), description="rotation of the hue, turns")
    grey_probability: Share = Field(default=0.01, description="input and target both become grey")

    @model_validator(mode="after")
    def _check_signs(self) -> DegradationConfig:
        if self.downsample[0] <= 0 or self.blur_sigma[0] < 0:
            raise ValueError("downsample must be above 0 and blur_sigma not below 0")
        return self

    def draw(self, size_hw: tuple[int, int], unit: float, random: np.random.Generator) -> PaperDamage:
        """See :meth:`Degradation.draw`. The order of the draws, that of the work itself, is part of the contract: the
        same seed gives the same pixels from one version to the next."""
        grey = bool(random.random() < self.grey_probability)
        sigmas, angle = self._draw_blur(unit, random)
        motion = self._draw_motion(unit, random)
        factor = self._draw_factor(random) * unit
        if self.blur_follows:
            sigmas = sigmas[0] * factor / unit, sigmas[1] * factor / unit
        shrink = self.shrink[random.integers(len(self.shrink))]
        height, width = (max(_LEAST_SIDE, round(side / factor)) for side in size_hw)
        noise_sigma = random.uniform(*self.noise_sigma)
        noise = _drawn_noise((height, width, 3), factor, random)
        quality = round(random.uniform(*self.jpeg_quality))
        return PaperDamage(
            grey=grey,
            blur_sigma=sigmas,
            blur_angle=angle,
            motion=motion,
            reduced_hw=(height, width),
            # Below a factor of one the face was sharper than our image: nothing to average.
            shrink="linear" if factor < 1 else shrink,
            noise_sigma=noise_sigma,
            noise=noise,
            jpeg_quality=quality if random.random() < self.jpeg_probability else None,
            enlarge=self.enlarge[random.integers(len(self.enlarge))],
            enlarged_hw=_enlarged(size_hw, unit) if self.enlarge_fully else size_hw,
            colour_shift=self._draw_shift(random),
            jitter=self._draw_jitter(random),
        )

    def _draw_blur(self, unit: float, random: np.random.Generator) -> tuple[tuple[float, float], float]:
        sigma_x, sigma_y = (float(sigma) * unit for sigma in random.uniform(*self.blur_sigma, size=2))
        angle = random.uniform(-math.pi, math.pi)
        return (sigma_x, sigma_x if random.random() < self.round_probability else sigma_y), angle

    def _draw_factor(self, random: np.random.Generator) -> float:
        least, most = self.downsample
        if self.downsample_octaves:
            return math.exp(random.uniform(math.log(least), math.log(most)))
        return random.uniform(least, most)

    def _draw_motion(self, unit: float, random: np.random.Generator) -> tuple[float, float] | None:
        if random.random() >= self.motion_probability:
            return None
        return random.uniform(*self.motion_length) * unit, random.uniform(0, math.pi)

    def _draw_shift(self, random: np.random.Generator) -> tuple[float, ...] | None:
        if random.random() >= self.colour_shift_probability:
            return None
        return tuple(random.uniform(-self.colour_shift, self.colour_shift, size=3).tolist())

    def _draw_jitter(self, random: np.random.Generator) -> tuple[tuple[str, float], ...]:
        if random.random() >= self.colour_jitter_probability:
            return ()
        names = [_JITTERS[number] for number in random.permutation(4)]
        return tuple((name, random.uniform(*getattr(self, name))) for name in names)

    def damage(self, frames: Iterable[Image], drawn: PaperDamage, random: np.random.Generator) -> Iterator[Image]:
        """See :meth:`Degradation.damage`: noise is new in each frame, all else alike."""
        noise = drawn.noise
        for frame in frames:
            yield drawn.applied(frame, noise)
            noise = random.standard_normal(noise.shape, dtype=np.float32)


@dataclass(frozen=True)
class PaperDamage(Drawn):
    """What was drawn of a :class:`DegradationConfig`; lengths in px of the image."""

    blur_sigma: tuple[float, float]
    blur_angle: float
    motion: tuple[float, float] | None
    reduced_hw: tuple[int, int]
    shrink: str
    noise_sigma: float
    noise: NDArray[np.float32]
    jpeg_quality: int | None
    enlarge: str
    enlarged_hw: tuple[int, int]
    colour_shift: tuple[float, ...] | None
    jitter: tuple[tuple[str, float], ...]

    def applied(self, image: Image, noise: NDArray[np.float32]) -> Image:
        """One frame damaged, with this white noise of deviation 1 at the reduced size."""
        image = gaussian_blur(grey_of(image) if self.grey else image, *self.blur_sigma, self.blur_angle)
        if self.motion is not None:
            image = convolved(image, motion_kernel(*self.motion))
        reduced = cv2.resize(image, self.reduced_hw[::-1], interpolation=INTERPOLATIONS[self.shrink])
        coded = noisy(np.asarray(reduced, np.uint8), noise, self.noise_sigma)
        if self.jpeg_quality is not None:
            coded = jpeg_recoded(coded, self.jpeg_quality)
        enlarged = resized(coded, self.enlarged_hw, INTERPOLATIONS[self.enlarge])
        return self._recoloured(resized(enlarged, image.shape[:2], cv2.INTER_AREA))

    def _recoloured(self, image: Image) -> Image:
        if self.colour_shift is not None:
            image = np.clip(np.rint(image + np.array(self.colour_shift)), 0, 255).astype(np.uint8)
        return _jittered(image, self.jitter) if self.jitter else image


def _enlarged(size_hw: tuple[int, int], unit: float) -> tuple[int, int]:
    """The size of a face at 512 px; a larger one's own."""
    height, width = (round(side / min(unit, 1.0)) for side in size_hw)
    return height, width


def _drawn_noise(shape: tuple[int, ...], factor: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Noise of deviation 1. A small face is enlarged to what a 512 px one is reduced to, up to 16 times as many pixels
    as its own, which call for the fast noise; elsewhere the noise that the published measures were taken with stays."""
    return white_noise(shape, random) if factor < 1 else random.standard_normal(shape, dtype=np.float32)


def _jittered(image: Image, steps: tuple[tuple[str, float], ...]) -> Image:
    """Brightness, contrast, saturation and hue in the order drawn, each clipped to the range as it goes."""
    pixels = image.astype(np.float32) / 255
    for step, amount in steps:
        if step == "brightness":
            pixels = pixels * np.float32(amount)
        elif step == "contrast":
            mean = np.float32(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).mean())
            pixels = mean + (pixels - mean) * np.float32(amount)
        elif step == "saturation":
            grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[:, :, None]
            pixels = grey + (pixels - grey) * np.float32(amount)
        else:
            hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
            hsv[:, :, 0] = (hsv[:, :, 0] + 360 * amount) % 360
            pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        pixels = np.clip(pixels, 0, 1, dtype=np.float32)
    return np.rint(pixels * 255).astype(np.uint8)


def _colours_kept(**ranges: Any) -> DegradationConfig:
    """A restorer of videos must not recolour faces, frame by frame."""
    return DegradationConfig(
        colour_shift_probability=0.0, colour_jitter_probability=0.0, grey_probability=0.02, **ranges
    )


_SHARED = _colours_kept(
    blur_sigma=(0.5, 4.5),
    round_probability=0.8,
    downsample=(1.5, 9.0),
    shrink=("linear", "area", "cubic"),
    enlarge=("linear", "cubic"),
    noise_sigma=(1.0, 14.0),
    jpeg_quality=(55.0, 95.0),
)
"""Photos and videos as they go round: a reduction with the blur that belongs to it, noise and medium JPEG."""

PRESETS: dict[str, Degradation] = {
    "paper": DegradationConfig(),
    "mild": _colours_kept(
        blur_sigma=(0.1, 2.0),
        downsample=(1.0, 3.0),
        shrink=("linear", "area"),
        enlarge=("linear", "cubic"),
        noise_sigma=(0.0, 6.0),
        jpeg_quality=(80.0, 100.0),
    ),
    # The paper's ranges, colours kept.
    "neutral": _colours_kept(shrink=("linear", "area", "cubic"), enlarge=("linear", "cubic")),
    # Small faces of compressed videos: block noise and chroma subsampling more than blur, some motion.
    "compressed": _colours_kept(
        blur_sigma=(0.1, 5.0),
        motion_probability=0.3,
        downsample=(1.0, 7.0),
        shrink=("linear", "area", "cubic"),
        enlarge=("linear", "cubic"),
        noise_sigma=(0.0, 8.0),
        jpeg_quality=(15.0, 75.0),
    ),
    "shared": _SHARED,
    # Good photos made small: the blur belongs to the reduction, and the face is seen larger than it was recorded. The
    # family that the fixed levels of `revisage.train.restorer.pairs` are of.
    "reduced": _colours_kept(
        blur_sigma=(0.4, 0.62),
        blur_follows=True,
        round_probability=0.8,
        downsample=(1.6, 9.2),
        downsample_octaves=True,
        shrink=("linear", "area"),
        enlarge=("cubic",),
        enlarge_fully=True,
        noise_sigma=(2.0, 14.0),
        jpeg_quality=(58.0, 92.0),
    ),
    "clean": _colours_kept(
        blur_sigma=(0.0, 0.3),
        downsample=(1.0, 1.5),
        shrink=("area",),
        enlarge=("cubic",),
        noise_sigma=(0.0, 1.0),
        jpeg_quality=(92.0, 100.0),
        jpeg_probability=0.5,
    ),
    # Tapes, broadcasts and low-rate video: real codecs, combs, chroma bleed, ringing, shaken cameras.
    "video": VideoDegradation(),
    # Animated images: few colours, dither, few pixels.
    "gif": GifDegradation(),
    # Old prints and films: faded, scratched, dusty, grainy, unevenly lit.
    "archive": ArchiveDegradation(),
    # Cheap cameras in poor light: gain noise through a colour mosaic, block noise, a slight cast, motion.
    "webcam": WebcamDegradation(),
    # Large faces of today's footage at the frame's own pixels; for windows of faces of 512 px.
    "large": LargeDegradation(),
    # The following, with `archive` and `webcam`, bear the names of `restore --preset`: the footage that each is for.
    # Home recordings on tape, digitised later; their two fields have become frames of doubled or mixed lines.
    "family-tape": VideoDegradation(
        downsample=(1.5, 5.0),
        tape_probability=1.0,
        interlace_probability=0.5,
        deinterlace=("line", "blend"),
        h264_probability=0.5,
    ),
    # Well kept reels: grain, specks of dust, hardly faded.
    "film": ArchiveDegradation(
        grey_probability=0.2,
        sepia_probability=0.0,
        blur_sigma=(0.5, 2.5),
        downsample=(1.0, 3.0),
        contrast=(0.92, 1.0),
        black=(0.0, 0.03),
        dye_fade=(0.0, 0.03),
        vignette=(0.0, 0.08),
        uneven=(0.0, 0.02),
        grain_sigma=(3.0, 10.0),
        scratches=(0.0, 1.0),
        dust=(4.0, 22.0),
        hairs=(0.0, 0.3),
        jpeg_quality=(80.0, 97.0),
    ),
    # GIFs that were copied from copies.
    "meme": GifDegradation(jpeg_probability=0.9, jpeg_quality=(25.0, 75.0)),
    # Photos as they go round.
    "photo": _SHARED,
    # A small face in a wide picture, poor light, few bits.
    "surveillance": WebcamDegradation(
        downsample=(4.0, 10.0), electrons=(80.0, 800.0), h264_probability=1.0, h264_crf=(26.0, 36.0)
    ),
}

MIXED: tuple[tuple[str, float], ...] = (
    ("reduced", 0.45),
    ("shared", 0.2),
    ("compressed", 0.13),
    ("neutral", 0.12),
    ("mild", 0.05),
    ("clean", 0.05),
)
"""What the embedded model was trained on last: (preset, share)."""


def find_preset(name: str) -> Degradation:
    """The preset of that name.

    Raises:
        ConfigError: there is none; it names the nearest one and lists all.
    """
    if name not in PRESETS:
        choices = ", ".join(sorted(PRESETS))
        raise ConfigError(f"no degradation preset '{name}'{nearest(name, PRESETS)}; choose from {choices}")
    return PRESETS[name]


def generator(seed: int, index: int) -> np.random.Generator:
    """The random source of one sample: the same for the same (seed, index), on any machine and in any worker."""
    return np.random.default_rng((seed, index))


def degrade(
    image: Image, config: Degradation, random: np.random.Generator, *, unit: float | None = None
) -> tuple[Image, Image]:
    """Degrade one aligned face, or a window of one.

    Args:
        image: (H, W, 3) uint8 RGB, square in practice; left as it is.
        config: what to draw from.
        random: drawn from.
        unit: px of the image in one px of a 512 px face; by default as of a whole face.

    Returns:
        (input, target), both of its shape and type; the target differs from ``image`` only in tone, where the pair
        became grey or sepia.
    """
    size_hw = image.shape[0], image.shape[1]
    drawn = config.draw(size_hw, size_hw[0] / REFERENCE_SIZE if unit is None else unit, random)
    return config.still(image, drawn, random), config.target(image, drawn)


def degrade_frames(
    frames: Iterable[Image], config: Degradation, random: np.random.Generator, *, unit: float | None = None
) -> tuple[Drawn, Iterator[Image]]:
    """Degrade a clip of any length as it passes: memory holds a few frames.

    Kernel, reduction, noise level and codec are drawn once; noise and grain are new in each frame, scratches and hairs
    last for some frames, and a codec codes the sequence as one.

    Args:
        frames: (H, W, 3) uint8 RGB of one size; at least one.
        config: what to draw from.
        random: drawn from.
        unit: px of the frames in one px of a 512 px face; by default the frames are taken for aligned faces.

    Returns:
        What was drawn, and the damaged frames, as many as there are and of the same size.

    Raises:
        ValueError: there is no frame.
    """
    source = iter(frames)
    first = next(source, None)
    if first is None:
        raise ValueError("a clip must have at least one frame")
    size_hw = first.shape[0], first.shape[1]
    drawn = config.draw(size_hw, size_hw[0] / REFERENCE_SIZE if unit is None else unit, random)
    return drawn, config.damage(chain([first], source), drawn, stage(random))


def degrade_clip(frames: Sequence[Image], preset: str | Degradation, seed: int) -> list[Image]:
    """Degrade a sequence of aligned faces as one clip, (H, W, 3) uint8 RGB each; the same for the same seed.

    Raises:
        ConfigError: an unknown preset.
        ValueError: there is no frame.
    """
    config = find_preset(preset) if isinstance(preset, str) else preset
    return list(degrade_frames(frames, config, generator(seed, 0))[1])
