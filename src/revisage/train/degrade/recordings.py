"""Tapes, broadcasts, low-rate video and cheap cameras."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from revisage.train.degrade.degradation import (
    INTERPOLATIONS,
    Codec,
    Degradation,
    Drawn,
    Image,
    Range,
    Share,
    convolved,
    from_planes,
    gaussian_blur,
    grey_of,
    jpeg_recoded,
    moved_by,
    noisy,
    path_kernel,
    recoded,
    reduced_to,
    resized,
    stage,
    to_planes,
)

__all__ = [
    "Deinterlace",
    "RecordedDamage",
    "RecordedDegradation",
    "TapeDamage",
    "VideoDamage",
    "VideoDegradation",
    "WebcamDamage",
    "WebcamDegradation",
    "interlaced",
    "mosaicked",
    "ringing_kernel",
    "taped",
]


class RecordedDegradation(Degradation):
    """What recorders and cameras share: a lens, a shaken hand, few pixels, a codec, and the enlargement at the end.

    Lengths are px of a 512 px face, unless they are the recorder's.
    """

    grey_probability: Share = Field(default=0.0, description="input and target both become grey")
    path_probability: Share = Field(default=0.0, description="share blurred along a smooth random path")
    path_length: Range = Field(default=(4.0, 28.0), description="length of that path, px at 512")
    blur_sigma: Range = Field(default=(0.3, 3.5), description="the lens, px at 512")
    downsample: Range = Field(default=(1.5, 6.5), description="factor of the reduction, at 512")
    h264_probability: Share = Field(default=1.0, description="share coded as H.264")
    h264_crf: Range = Field(default=(19.0, 31.0), description="x264's CRF at the reduced size")
    deblock_probability: Share = Field(default=0.75, description="share of H.264 with its deblocking filter")
    enlarge: tuple[Literal["linear", "cubic"], ...] = Field(default=("linear", "cubic"), min_length=1)

    def _draw_lens(
        self, size_hw: tuple[int, int], unit: float, path: bool, random: np.random.Generator
    ) -> dict[str, Any]:
        """The fields of :class:`RecordedDamage` that come before the recorder, but for how it is enlarged."""
        return {
            "grey": bool(random.random() < self.grey_probability),
            "size_hw": size_hw,
            "path": path_kernel(random.uniform(*self.path_length) * unit, random) if path else None,
            "blur_sigma": random.uniform(*self.blur_sigma) * unit,
            "reduced_hw": reduced_to(size_hw, max(1.0, random.uniform(*self.downsample) * unit), step=2),
        }

    def _draw_enlargement(self, random: np.random.Generator) -> str:
        return self.enlarge[random.integers(len(self.enlarge))]


@dataclass(frozen=True)
class RecordedDamage(Drawn):
    """What was drawn of a :class:`RecordedDegradation`; lengths in px of the image.

    Attributes:
        path: (k, k) kernel of the motion blur, or None.
        reduced_hw: of the recorder's sensor.
    """

    size_hw: tuple[int, int]
    path: NDArray[np.float32] | None
    blur_sigma: float
    reduced_hw: tuple[int, int]
    enlarge: str
    deblock: bool

    def reduced(self, image: Image) -> Image:
        """A frame as the lens lays it on the sensor."""
        image = grey_of(image) if self.grey else image
        if self.path is not None:
            image = convolved(image, self.path)
        return resized(gaussian_blur(image, self.blur_sigma, self.blur_sigma, 0.0), self.reduced_hw, cv2.INTER_AREA)

    def enlarged(self, image: Image) -> Image:
        """A recorded frame at the size that it came with."""
        return resized(image, self.size_hw, INTERPOLATIONS[self.enlarge])


class VideoDegradation(RecordedDegradation):
    """Ranges of the ``video`` preset. Lengths of blur and reduction are px of a 512 px face; those of tape, fields and
    motion are px of the picture as it was recorded, after the reduction."""

    grey_probability: Share = Field(default=0.03, description="input and target both become grey")
    path_probability: Share = Field(default=0.35, description="share blurred along a smooth random path")
    noise_sigma: Range = Field(default=(0.0, 5.0), description="white noise before the codec, levels")
    interlace_probability: Share = Field(default=0.3, description="share recorded in two fields")
    deinterlace: tuple[Deinterlace, ...] = Field(default=("none", "line", "blend"), min_length=1)
    motion: Range = Field(default=(0.2, 3.0), description="of a still, px from frame to frame")
    tape_probability: Share = Field(default=0.35, description="share that was on tape")
    bleed: Range = Field(default=(1.5, 4.5), description="deviation of the colour's low-pass along a line")
    delay: Range = Field(default=(0.0, 2.5), description="how far the colour lies to the right")
    softness: Range = Field(default=(0.4, 1.1), description="deviation of the luma's low-pass along a line")
    halo: Range = Field(default=(0.1, 0.5), description="overshoot at edges, a part of the step")
    ring_period: Range = Field(default=(2.5, 5.0), description="distance of the rings beside an edge")
    line_jitter: Range = Field(default=(0.0, 0.5), description="deviation of each line's displacement")
    luma_noise: Range = Field(default=(1.0, 6.0), description="levels")
    chroma_noise: Range = Field(default=(1.0, 8.0), description="levels, in streaks along the lines")
    h264_probability: Share = Field(default=0.65, description="share coded as H.264, the rest as MPEG-2")
    mpeg2_quantiser: Range = Field(default=(2.0, 10.0), description="at the reduced size")

    def draw(self, size_hw: tuple[int, int], unit: float, random: np.random.Generator) -> VideoDamage:
        """See :meth:`Degradation.draw`."""
        codec: Codec = "h264" if random.random() < self.h264_probability else "mpeg2"
        path = random.random() < self.path_probability
        woven = random.random() < self.interlace_probability
        angle = random.normal(0, 0.5)  # most things move sideways
        speed = random.uniform(*self.motion)
        return VideoDamage(
            **self._draw_lens(size_hw, unit, path, random),
            noise_sigma=random.uniform(*self.noise_sigma),
            fields=self.deinterlace[random.integers(len(self.deinterlace))] if woven else None,
            motion=(speed * math.cos(angle) * random.choice((-1, 1)), speed * math.sin(angle)),
            tape=self._draw_tape(random) if random.random() < self.tape_probability else None,
            codec=codec,
            quality=random.uniform(*(self.h264_crf if codec == "h264" else self.mpeg2_quantiser)),
            deblock=bool(random.random() < self.deblock_probability),
            enlarge=self._draw_enlargement(random),
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
class VideoDamage(RecordedDamage):
    """What was drawn of a :class:`VideoDegradation`; lengths in px of the image, or of the reduced one (see there).

    Attributes:
        fields: how the picture was deinterlaced; None: it never had fields.
        motion: x and y from frame to frame of a still.
    """

    noise_sigma: float
    fields: Deinterlace | None
    motion: tuple[float, float]
    tape: TapeDamage | None
    codec: Codec
    quality: float


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
        yield moved_by(image, drawn.motion[0] * steps, drawn.motion[1] * steps)


def _grained(image: Image, sigma: float, random: np.random.Generator) -> Image:
    return noisy(image, random.standard_normal(image.shape, dtype=np.float32), sigma)


Deinterlace = Literal["none", "line", "blend"]
_SMEAR = 3.0
"""Px along a line over which the noise of a tape's luma is alike."""


@dataclass(frozen=True)
class TapeDamage(Drawn):
    """One recording on tape; lengths in px of the recorded picture, levels of 255.

    Attributes:
        bleed: deviation of the colour's low-pass along a line.
        delay: how far the colour lies to the right of its edge.
        softness: deviation of the luma's low-pass along a line.
        halo: overshoot at edges, as a part of the step.
        period: distance from one ring to the next.
        jitter: deviation of each line's displacement.
        luma_noise, chroma_noise: deviations.
    """

    bleed: float
    delay: float
    softness: float
    halo: float
    period: float
    jitter: float
    luma_noise: float
    chroma_noise: float


def taped(image: Image, tape: TapeDamage, random: np.random.Generator) -> Image:
    """One frame played back from tape, (H, W, 3) uint8 RGB; noise and the lines' jitter come from ``random``."""
    height, width = image.shape[:2]
    planes = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    shifts = _line_shifts(height, tape.jitter, random)
    columns = np.arange(width, dtype=np.float32)[None]
    rows = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)
    luma = cv2.remap(planes[..., 0], columns + shifts, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    luma = cv2.filter2D(_along(luma, tape.softness), -1, ringing_kernel(tape.halo, tape.period))
    luma += _streaks((height, width), _SMEAR / 3, tape.luma_noise, random)
    # Two neighbouring lines share their colour in the player's comb filter.
    chroma = cv2.GaussianBlur(planes[..., 1:], (0, 0), sigmaX=tape.bleed, sigmaY=0.8, borderType=cv2.BORDER_REPLICATE)
    at = np.broadcast_to(columns, rows.shape) - tape.delay + shifts
    chroma = cv2.remap(chroma, at, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    for channel in range(2):
        chroma[..., channel] += _streaks((height, width), max(tape.bleed, 1.0), tape.chroma_noise, random)
    played = np.dstack((luma, chroma))
    return cv2.cvtColor(_to_uint8(played), cv2.COLOR_YCrCb2RGB).astype(np.uint8, copy=False)


def ringing_kernel(halo: float, period: float) -> NDArray[np.float32]:
    """A row of sum 1 that overshoots at edges by ``halo`` of the step and rings to the right, as filters do in time.

    Args:
        halo: overshoot, a part of the step.
        period: px from ring to ring.
    """
    reach = max(2, math.ceil(1.5 * period))
    after = np.arange(reach + 1)
    # A damped cosine: the slope of a step response that overshoots and swings in.
    tail = np.exp(-1.8 * after / period) * np.cos(2 * math.pi * after / period)
    tail[0] = 0
    tail -= tail.sum() / reach * (after > 0)
    kernel = np.zeros(2 * reach + 1)
    kernel[reach:] = tail * halo
    kernel[reach] += 1
    # A player's sharpness control acts to both sides.
    kernel[reach - 1 : reach + 2] += np.array([-0.5, 1.0, -0.5]) * halo
    # filter2D correlates: what follows in time must come from the left.
    return kernel[::-1].astype(np.float32)[None]


def interlaced(frames: Iterable[Image], repair: Deinterlace) -> Iterator[Image]:
    """Frames whose odd lines come from the frame before, as they are (``none``), or after a bad deinterlacer.

    ``line`` keeps the even lines and doubles them; ``blend`` takes the mean of both fields: ghosts instead of combs.
    """
    before: Image | None = None
    for frame in frames:
        woven = frame.copy()
        if before is not None:
            woven[1::2] = before[1::2]
        before = frame
        yield _deinterlaced(woven, repair)


def _deinterlaced(woven: Image, repair: Deinterlace) -> Image:
    if repair == "none":
        return woven
    if repair == "line":
        return np.ascontiguousarray(np.repeat(woven[::2], 2, axis=0)[: len(woven)])
    kernel = np.array([[0.25], [0.5], [0.25]], np.float32)
    return cv2.filter2D(woven, -1, kernel, borderType=cv2.BORDER_REFLECT_101).astype(np.uint8, copy=False)


def _line_shifts(height: int, jitter: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Displacement of each line (px), (height, 1): half of the variance wanders slowly, half is new in each line."""
    fresh = random.standard_normal((2, height), dtype=np.float32)
    slow = cv2.GaussianBlur(fresh[1:], (0, 0), sigmaX=6.0, sigmaY=0.1, borderType=cv2.BORDER_REFLECT)[0]
    # A white sequence loses that part of its deviation under a Gaussian of 6 px.
    slow *= math.sqrt(2 * math.sqrt(math.pi) * 6.0)
    shifts: NDArray[np.float32] = ((fresh[0] + slow) * np.float32(jitter * math.sqrt(0.5)))[:, None]
    return shifts


def _streaks(size_hw: tuple[int, int], length: float, sigma: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Noise of deviation ``sigma`` that is alike along a line over ``length`` px."""
    noise = _along(random.standard_normal(size_hw, dtype=np.float32), length)
    return noise * np.float32(sigma * math.sqrt(2 * math.sqrt(math.pi) * max(length, 0.3)))


def _along(plane: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """The plane blurred along its lines."""
    if sigma < 0.3:
        return plane
    blurred = cv2.GaussianBlur(plane, (0, 0), sigmaX=sigma, sigmaY=0.1, borderType=cv2.BORDER_REFLECT_101)
    return blurred.astype(np.float32, copy=False)


def _to_uint8(pixels: NDArray[np.float32]) -> Image:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


_GAMMA = 2.2
"""A sensor counts light; 8-bit levels are about its square root."""

_STILL_FRAMES = 2
"""Frames of a still that are coded one after the other."""


class WebcamDegradation(RecordedDegradation):
    """Ranges of the ``webcam`` preset; lengths are px of a 512 px face, unless they are the sensor's."""

    grey_probability: Share = Field(default=0.02, description="input and target both become grey")
    path_probability: Share = Field(default=0.45, description="share blurred along a smooth random path")
    path_length: Range = Field(default=(4.0, 30.0), description="length of that path, px at 512")
    blur_sigma: Range = Field(default=(0.5, 4.0), description="a lens of plastic, px at 512")
    downsample: Range = Field(default=(1.5, 6.0), description="factor of the reduction, at 512")
    exposure: Range = Field(default=(0.65, 1.0), description="level of the picture: low light is not all made up for")
    cast: float = Field(default=0.06, ge=0, le=0.5, description="largest gain or loss of red and blue")
    electrons: Range = Field(default=(80.0, 2000.0), description="light that fills a pixel; fewer make more noise")
    read_noise: Range = Field(default=(1.0, 4.0), description="of the amplifier, electrons")
    mosaic_probability: Share = Field(default=0.8, description="share whose colours lie under a mosaic")
    denoise_sigma: Range = Field(
        default=(0.8, 3.0), description="the camera smears colour by this, and luma by a third of it, px of the sensor"
    )
    sharpening: Range = Field(default=(0.0, 1.2), description="and sharpens luma by this part")
    h264_probability: Share = Field(default=0.6, description="share coded as H.264, the rest as JPEG")
    h264_crf: Range = Field(default=(21.0, 34.0), description="x264's CRF at the reduced size")
    deblock_probability: Share = Field(default=0.5, description="share of H.264 with its deblocking filter")
    jpeg_quality: Range = Field(default=(15.0, 60.0), description="of motion JPEG")

    def draw(self, size_hw: tuple[int, int], unit: float, random: np.random.Generator) -> WebcamDamage:
        """See :meth:`Degradation.draw`."""
        path = random.random() < self.path_probability
        h264 = random.random() < self.h264_probability
        # Counts of light span a decade and more: drawn evenly by their logarithm.
        fewest, most = np.log(self.electrons)
        return WebcamDamage(
            **self._draw_lens(size_hw, unit, path, random),
            gains=self._draw_gains(random),
            electrons=float(np.exp(random.uniform(fewest, most))),
            read_noise=random.uniform(*self.read_noise),
            mosaic=bool(random.random() < self.mosaic_probability),
            denoise_sigma=random.uniform(*self.denoise_sigma),
            sharpening=random.uniform(*self.sharpening),
            crf=random.uniform(*self.h264_crf) if h264 else None,
            deblock=bool(random.random() < self.deblock_probability),
            jpeg_quality=None if h264 else round(random.uniform(*self.jpeg_quality)),
            enlarge=self._draw_enlargement(random),
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
class WebcamDamage(RecordedDamage):
    """What was drawn of a :class:`WebcamDegradation`; lengths in px of the image, or of the sensor (see there).

    Attributes:
        gains: of red, green and blue levels.
        crf, jpeg_quality: of the codec; one of them is None.
    """

    gains: tuple[float, float, float]
    electrons: float
    read_noise: float
    mosaic: bool
    denoise_sigma: float
    sharpening: float
    crf: float | None
    jpeg_quality: int | None

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
