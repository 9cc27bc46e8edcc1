"""Cheap cameras in poor light: noise under a colour mosaic, a slight cast, sharpening, motion, block noise."""

from __future__ import annotations

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
    reduced_to,
    resized,
    stage,
)
from revisage.train.recode import from_planes, jpeg_recoded, recoded, to_planes

__all__ = ["WebcamDamage", "WebcamDegradation", "mosaicked"]

_INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
# A sensor counts light; 8-bit levels are about its square root.
_GAMMA = 2.2
# Frames of a still that are coded one after the other.
_STILL_FRAMES = 2


class WebcamDegradation(Degradation):
    """Ranges of the ``webcam`` preset; lengths are px of a 512 px face, unless they are the sensor's."""

    grey_probability: float = Field(default=0.02, ge=0, le=1, description="input and target both become grey")
    path_probability: float = Field(default=0.45, ge=0, le=1, description="share blurred along a smooth random path")
    path_length: Range = Field(default=(4.0, 30.0), description="length of that path, px at 512")
    blur_sigma: Range = Field(default=(0.5, 4.0), description="a lens of plastic, px at 512")
    downsample: Range = Field(default=(1.5, 6.0), description="factor of the reduction, at 512")
    exposure: Range = Field(default=(0.65, 1.0), description="level of the picture: low light is not all made up for")
    cast: float = Field(default=0.06, ge=0, le=0.5, description="largest gain or loss of red and blue")
    electrons: Range = Field(default=(80.0, 2000.0), description="light that fills a pixel; fewer make more noise")
    read_noise: Range = Field(default=(1.0, 4.0), description="of the amplifier, electrons")
    mosaic_probability: float = Field(default=0.8, ge=0, le=1, description="share whose colours lie under a mosaic")
    denoise_sigma: Range = Field(
        default=(0.8, 3.0), description="the camera smears colour by this, and luma by a third of it, px of the sensor"
    )
    sharpening: Range = Field(default=(0.0, 1.2), description="and sharpens luma by this part")
    h264_probability: float = Field(default=0.6, ge=0, le=1, description="share coded as H.264, the rest as JPEG")
    h264_crf: Range = Field(default=(21.0, 34.0), description="x264's CRF at the reduced size")
    deblock_probability: float = Field(default=0.5, ge=0, le=1, description="share of H.264 with its deblocking filter")
    jpeg_quality: Range = Field(default=(15.0, 60.0), description="of motion JPEG")
    enlarge: tuple[Literal["linear", "cubic"], ...] = Field(default=("linear", "cubic"), min_length=1)

    def draw(self, size_hw: tuple[int, int], unit: float, random: np.random.Generator) -> WebcamDamage:
        """See :meth:`Degradation.draw`."""
        path = random.random() < self.path_probability
        h264 = random.random() < self.h264_probability
        # Counts of light span a decade and more: drawn evenly by their logarithm.
        fewest, most = np.log(self.electrons)
        return WebcamDamage(
            grey=bool(random.random() < self.grey_probability),
            size_hw=size_hw,
            path=path_kernel(random.uniform(*self.path_length) * unit, random) if path else None,
            blur_sigma=random.uniform(*self.blur_sigma) * unit,
            reduced_hw=reduced_to(size_hw, max(1.0, random.uniform(*self.downsample) * unit), step=2),
            gains=self._draw_gains(random),
            electrons=float(np.exp(random.uniform(fewest, most))),
            read_noise=random.uniform(*self.read_noise),
            mosaic=bool(random.random() < self.mosaic_probability),
            denoise_sigma=random.uniform(*self.denoise_sigma),
            sharpening=random.uniform(*self.sharpening),
            crf=random.uniform(*self.h264_crf) if h264 else None,
            deblock=bool(random.random() < self.deblock_probability),
            jpeg_quality=None if h264 else round(random.uniform(*self.jpeg_quality)),
            enlarge=self.enlarge[random.integers(len(self.enlarge))],
        )

    def _draw_gains(self, random: np.random.Generator) -> tuple[float, float, float]:
        exposure = random.uniform(*self.exposure)
        red, blue = random.uniform(-self.cast, self.cast, size=2)
        return exposure * (1 + red), exposure, exposure * (1 + blue)

    def damage(self, frames: Iterable[Image], drawn: WebcamDamage, random: np.random.Generator) -> Iterator[Image]:
        """See :meth:`Degradation.damage`."""
        sensor = stage(random)
        seen = (drawn.seen(frame, sensor) for frame in map(drawn.reduced, frames))
        return map(drawn.enlarged, drawn.coded(seen))

    def still(self, image: Image, drawn: WebcamDamage, random: np.random.Generator) -> Image:
        """The last of a few frames that differ by their noise: codecs spend less on those that follow."""
        small, sensor = drawn.reduced(image), stage(random)
        count = 1 if drawn.crf is None else _STILL_FRAMES
        *_, last = drawn.coded(drawn.seen(small, sensor) for _ in range(count))
        return drawn.enlarged(last)


@dataclass(frozen=True)
class WebcamDamage(Drawn):
    """What was drawn of a :class:`WebcamDegradation`; lengths in px of the image, or of the sensor (see there).

    Attributes:
        path: (k, k) kernel of the motion blur, or None.
        gains: of red, green and blue levels.
        crf, jpeg_quality: of the codec; one of them is None.
    """

    size_hw: tuple[int, int]
    path: NDArray[np.float32] | None
    blur_sigma: float
    reduced_hw: tuple[int, int]
    gains: tuple[float, float, float]
    electrons: float
    read_noise: float
    mosaic: bool
    denoise_sigma: float
    sharpening: float
    crf: float | None
    deblock: bool
    jpeg_quality: int | None
    enlarge: str

    def reduced(self, image: Image) -> Image:
        """A frame as the lens lays it on the sensor."""
        image = grey_of(image) if self.grey else image
        if self.path is not None:
            image = convolved(image, self.path)
        return resized(gaussian_blur(image, self.blur_sigma, self.blur_sigma, 0.0), self.reduced_hw, cv2.INTER_AREA)

    def seen(self, image: Image, random: np.random.Generator) -> Image:
        """What the camera makes of it: counted light, a mosaic filled in, colour smeared, luma sharpened."""
        levels = _counted(image, self.gains, self.electrons, self.read_noise, random)
        if self.mosaic:
            levels = mosaicked(levels)
        planes = cv2.cvtColor(levels, cv2.COLOR_RGB2YCrCb).astype(np.float32)
        if self.denoise_sigma > 0.3:
            planes[..., 1:] = cv2.GaussianBlur(planes[..., 1:], (0, 0), self.denoise_sigma)
            planes[..., 0] = cv2.GaussianBlur(planes[..., 0], (0, 0), self.denoise_sigma / 3)
        luma = planes[..., 0]
        planes[..., 0] += np.float32(self.sharpening) * (luma - cv2.GaussianBlur(luma, (0, 0), 1.5))
        whole = np.clip(np.rint(planes), 0, 255).astype(np.uint8)
        rgb = cv2.cvtColor(whole, cv2.COLOR_YCrCb2RGB).astype(np.uint8, copy=False)
        return grey_of(rgb) if self.grey else rgb

    def coded(self, frames: Iterable[Image]) -> Iterator[Image]:
        """Frames as the camera's encoder leaves them."""
        if self.crf is None:
            assert self.jpeg_quality is not None
            return (jpeg_recoded(frame, self.jpeg_quality) for frame in frames)
        return map(from_planes, recoded(map(to_planes, frames), "h264", self.crf, deblock=self.deblock))

    def enlarged(self, image: Image) -> Image:
        """A coded frame at the size that it came with."""
        return resized(image, self.size_hw, _INTERPOLATIONS[self.enlarge])


def mosaicked(image: Image) -> Image:
    """Each pixel seen through one of red, green and blue (RGGB), the other two filled in bilinearly.

    (H, W, 3) uint8 RGB of even sides, and back.
    """
    mosaic = image[..., 1].copy()
    mosaic[0::2, 0::2] = image[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = image[1::2, 1::2, 2]
    # OpenCV names the patterns by their second row and column.
    return cv2.cvtColor(mosaic, cv2.COLOR_BayerBG2RGB).astype(np.uint8, copy=False)


def _counted(
    image: Image, gains: tuple[float, ...], electrons: float, read_noise: float, random: np.random.Generator
) -> Image:
    """8-bit levels with the noise of counted light: its variance follows the light, plus the amplifier's."""
    levels = np.arange(256) / 255
    light = np.clip(levels[:, None] * np.array(gains), 0, 1) ** _GAMMA
    # A change of light moves the level by the slope of the curve; the dark end is bounded as the amplifier clips there.
    slope = np.minimum(1 / _GAMMA * np.maximum(light, 1e-4) ** (1 / _GAMMA - 1), 4.0)
    sigma = np.sqrt(light * electrons + read_noise**2) / electrons * slope * 255
    mean = light ** (1 / _GAMMA) * 255
    noise = random.standard_normal(image.shape, dtype=np.float32)
    noise *= cv2.LUT(image, sigma.astype(np.float32)[None])
    noisy = cv2.LUT(image, mean.astype(np.float32)[None]) + noise
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
