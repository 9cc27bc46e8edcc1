"""The GFPGAN paper's degradation model: y = [(x ⊛ k) ↓r + n]_JPEG ↑r.

Wang et al. (CVPR 2021), section 4.1: a Gaussian kernel (round or elongated), a reduction by r, white noise, JPEG, and
the enlargement to the old size. The published ranges are for 512-pixel faces and stand here as such; `degrade`
scales what is measured in pixels (blur, r) to the size of the image that it gets, so that one configuration means
the same face at any size. Colour jitter and the greyscale share are those of the published training configuration.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["MIXED", "PRESETS", "DegradationConfig", "degrade", "generator"]

REFERENCE_SIZE = 512
Image = NDArray[np.uint8]
Range = tuple[float, float]
_INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}


class DegradationConfig(BaseModel):
    """Ranges are uniform; lengths are in px of a 512-pixel face; colours in levels of 255."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blur_sigma: Range = Field(default=(0.1, 10.0), description="standard deviation of the blur, px at 512")
    round_probability: float = Field(default=0.5, ge=0, le=1, description="share of round (isotropic) kernels")
    motion_probability: float = Field(default=0.0, ge=0, le=1, description="share with a straight motion blur on top")
    motion_length: Range = Field(default=(2.0, 16.0), description="length of the motion blur, px at 512")
    downsample: Range = Field(default=(0.8, 8.0), description="factor r of the reduction, at 512")
    shrink: tuple[Literal["linear", "cubic", "area"], ...] = Field(default=("linear",), min_length=1)
    enlarge: tuple[Literal["linear", "cubic"], ...] = Field(default=("linear",), min_length=1)
    noise_sigma: Range = Field(default=(0.0, 20.0), description="white noise at the reduced size, levels")
    jpeg_quality: Range = Field(default=(60.0, 100.0), description="JPEG quality at the reduced size")
    jpeg_probability: float = Field(default=1.0, ge=0, le=1)
    colour_shift_probability: float = Field(default=0.3, ge=0, le=1, description="a constant added to each channel")
    colour_shift: float = Field(default=20.0, ge=0, le=255)
    colour_jitter_probability: float = Field(
        default=0.3, ge=0, le=1, description="brightness, contrast, saturation, hue"
    )
    brightness: Range = (0.5, 1.5)
    contrast: Range = (0.5, 1.5)
    saturation: Range = (0.0, 1.5)
    hue: Range = Field(default=(-0.1, 0.1), description="rotation of the hue, turns")
    grey_probability: float = Field(default=0.01, ge=0, le=1, description="input and target both become grey")

    @model_validator(mode="after")
    def _check_ranges(self) -> DegradationConfig:
        for name, value in self:
            if isinstance(value, tuple) and isinstance(value[0], float) and value[0] > value[1]:
                raise ValueError(f"{name}: the range {value} ends before it begins")
        if self.downsample[0] <= 0 or self.blur_sigma[0] < 0:
            raise ValueError("downsample must be above 0 and blur_sigma not below 0")
        return self


def _colours_kept(**ranges: Any) -> DegradationConfig:
    """A restorer of videos must not recolour faces, frame by frame."""
    return DegradationConfig(
        colour_shift_probability=0.0, colour_jitter_probability=0.0, grey_probability=0.02, **ranges
    )


PRESETS: dict[str, DegradationConfig] = {
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
    # Photos and videos as they go round: a reduction with the blur that belongs to it, noise and medium JPEG.
    "shared": _colours_kept(
        blur_sigma=(0.5, 4.5),
        round_probability=0.8,
        downsample=(1.5, 9.0),
        shrink=("linear", "area", "cubic"),
        enlarge=("linear", "cubic"),
        noise_sigma=(1.0, 14.0),
        jpeg_quality=(55.0, 95.0),
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
}

#: What the embedded model is trained on: (preset, share).
MIXED: tuple[tuple[str, float], ...] = (("neutral", 0.58), ("compressed", 0.24), ("mild", 0.12), ("clean", 0.06))


def generator(seed: int, index: int) -> np.random.Generator:
    """The random source of one sample: the same for the same (seed, index), on any machine and in any worker."""
    return np.random.default_rng((seed, index))


def degrade(image: Image, config: DegradationConfig, random: np.random.Generator) -> tuple[Image, Image]:
    """Degrade one aligned face.

    `image` is (H, W, 3) uint8 RGB, square in practice, and is left as it is. Returns (input, target), both of its
    shape and type; the target differs from `image` only where the pair became grey.
    """
    height, width = image.shape[:2]
    scale = height / REFERENCE_SIZE
    target = _grey(image) if random.random() < config.grey_probability else image
    reduced = _shrink(_blur(target, config, scale, random), config, scale, random)
    noisy = reduced + _noise(reduced.shape, config, random)
    damaged = _jpeg(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), config, random)
    enlarge = _INTERPOLATIONS[config.enlarge[random.integers(len(config.enlarge))]]
    if damaged.shape[:2] != (height, width):
        damaged = cv2.resize(damaged, (width, height), interpolation=enlarge).astype(np.uint8, copy=False)
    return _shift_colours(damaged, config, random), target


def gaussian_kernel(sigma_x: float, sigma_y: float, angle: float) -> NDArray[np.float32]:
    """A normalised Gaussian with the standard deviations along its own axes (px), turned by `angle` (radians)."""
    radius = max(1, math.ceil(3 * max(sigma_x, sigma_y)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    kernel = np.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
    return (kernel / kernel.sum()).astype(np.float32)


def motion_kernel(length: float, angle: float) -> NDArray[np.float32]:
    """A normalised straight line of `length` px through the centre, turned by `angle` (radians)."""
    radius = max(1, math.ceil(length / 2))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    for offset in np.linspace(-length / 2, length / 2, 4 * radius + 1):
        column, row = radius + offset * math.cos(angle), radius + offset * math.sin(angle)
        left, top = min(int(column), 2 * radius - 1), min(int(row), 2 * radius - 1)
        right_part, bottom_part = column - left, row - top
        kernel[top, left] += (1 - right_part) * (1 - bottom_part)
        kernel[top, left + 1] += right_part * (1 - bottom_part)
        kernel[top + 1, left] += (1 - right_part) * bottom_part
        kernel[top + 1, left + 1] += right_part * bottom_part
    return kernel / kernel.sum()


def _blur(image: Image, config: DegradationConfig, scale: float, random: np.random.Generator) -> Image:
    sigma_x, sigma_y = (float(sigma) * scale for sigma in random.uniform(*config.blur_sigma, size=2))
    angle = random.uniform(-math.pi, math.pi)
    if random.random() < config.round_probability:
        sigma_y = sigma_x
    if max(sigma_x, sigma_y) > 0.2:  # narrower than this the kernel is one pixel
        if sigma_x == sigma_y:
            image = cv2.GaussianBlur(image, (0, 0), sigma_x, borderType=cv2.BORDER_REFLECT_101)
        else:
            kernel = gaussian_kernel(max(sigma_x, 0.05), max(sigma_y, 0.05), angle)
            image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    if random.random() < config.motion_probability:
        kernel = motion_kernel(random.uniform(*config.motion_length) * scale, random.uniform(0, math.pi))
        image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return image


def _shrink(image: Image, config: DegradationConfig, scale: float, random: np.random.Generator) -> Image:
    factor = random.uniform(*config.downsample) * scale
    name = config.shrink[random.integers(len(config.shrink))]
    height, width = (max(8, round(side / factor)) for side in image.shape[:2])
    # Below a factor of one the face was sharper than our image: nothing to average.
    interpolation = _INTERPOLATIONS["linear" if factor < 1 else name]
    return cv2.resize(image, (width, height), interpolation=interpolation).astype(np.uint8, copy=False)


def _noise(shape: tuple[int, ...], config: DegradationConfig, random: np.random.Generator) -> NDArray[np.float32]:
    sigma = np.float32(random.uniform(*config.noise_sigma))
    return random.standard_normal(shape, dtype=np.float32) * sigma


def _jpeg(image: Image, config: DegradationConfig, random: np.random.Generator) -> Image:
    quality = round(random.uniform(*config.jpeg_quality))
    if random.random() >= config.jpeg_probability:
        return image
    # Colour order is of no matter to the channels' noise, but chroma is: encode as what it is.
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _grey(image: Image) -> Image:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def _shift_colours(image: Image, config: DegradationConfig, random: np.random.Generator) -> Image:
    if random.random() < config.colour_shift_probability:
        shift = random.uniform(-config.colour_shift, config.colour_shift, size=3)
        image = np.clip(np.rint(image + shift), 0, 255).astype(np.uint8)
    if random.random() < config.colour_jitter_probability:
        image = _jitter(image, config, random)
    return image


def _jitter(image: Image, config: DegradationConfig, random: np.random.Generator) -> Image:
    """Brightness, contrast, saturation and hue, in a random order, each clipped to the range as it goes."""
    pixels = image.astype(np.float32) / 255
    for step in random.permutation(4):
        if step == 0:
            pixels = pixels * np.float32(random.uniform(*config.brightness))
        elif step == 1:
            mean = np.float32(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).mean())
            pixels = mean + (pixels - mean) * np.float32(random.uniform(*config.contrast))
        elif step == 2:
            grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[:, :, None]
            pixels = grey + (pixels - grey) * np.float32(random.uniform(*config.saturation))
        else:
            hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
            hsv[:, :, 0] = (hsv[:, :, 0] + 360 * random.uniform(*config.hue)) % 360
            pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        pixels = np.clip(pixels, 0, 1, dtype=np.float32)
    return np.rint(pixels * 255).astype(np.uint8)
