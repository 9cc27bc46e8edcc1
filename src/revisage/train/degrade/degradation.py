"""What every kind of damage is, and what the kinds share: ranges, draws, blur, noise, sizes, real codecs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cache
from statistics import NormalDist
from typing import Annotated, Any, Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from revisage.core import Image
from revisage.media import repeatable_x264

__all__ = [
    "INTERPOLATIONS",
    "REFERENCE_SIZE",
    "Codec",
    "Degradation",
    "Drawn",
    "Image",
    "Range",
    "Share",
    "convolved",
    "from_planes",
    "gaussian_blur",
    "gaussian_kernel",
    "grey_of",
    "jpeg_recoded",
    "motion_kernel",
    "moved_by",
    "noisy",
    "path_kernel",
    "recoded",
    "reduced_to",
    "resized",
    "stage",
    "to_planes",
    "white_noise",
]

REFERENCE_SIZE = 512
"""Lengths of a configuration are in px of a face in FFHQ framing that is this large."""

_NORMAL_LEVELS = 2**16
"""Values of the table that normal numbers are drawn from: an index is two random bytes."""

Range = tuple[float, float]
Share = Annotated[float, Field(ge=0, le=1)]
"""Of the pictures, 0 to 1."""

INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
"""OpenCV's, by the names that settings have."""


@dataclass(frozen=True)
class Drawn:
    """The parameters of one image or clip. Attributes:

    grey: input and target both became grey.
    """

    grey: bool

    def record(self) -> dict[str, Any]:
        """The parameters as JSON values, rounded; arrays of noise are left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in values.items() if not isinstance(value, np.ndarray)}


def _plain(value: Any) -> Any:
    if isinstance(value, Drawn):
        return value.record()
    if isinstance(value, float):
        return round(value, 4)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


class Degradation(BaseModel, ABC):
    """Ranges of one kind of damage. Ranges are uniform; a pair is (least, most)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    grey_probability: float = Field(default=0.0, ge=0, le=1, description="input and target both become grey")

    @model_validator(mode="after")
    def _check_ranges(self) -> Degradation:
        for name, value in self:
            if isinstance(value, tuple) and value and isinstance(value[0], float) and value[0] > value[1]:
                raise ValueError(f"{name}: the range {value} ends before it begins")
        return self

    @abstractmethod
    def draw(self, size_hw: tuple[int, int], unit: float, random: np.random.Generator) -> Drawn:
        """Draw the parameters of one image or clip.

        Args:
            size_hw: of its frames, px.
            unit: px of the frames in one px of the 512 px face that lengths are stated for.
            random: drawn from.
        """

    @abstractmethod
    def damage(self, frames: Iterable[Image], drawn: Any, random: np.random.Generator) -> Iterator[Image]:
        """The frames of one clip, (H, W, 3) uint8 RGB, damaged alike; what changes from frame to frame (noise, grain,
        dust) comes from ``random``."""

    def still(self, image: Image, drawn: Any, random: np.random.Generator) -> Image:
        """One picture damaged as a clip of one frame."""
        return next(self.damage([image], drawn, random))

    def target(self, image: Image, drawn: Drawn) -> Image:
        """What a restorer should make of the damaged image: the source, in the pair's tone."""
        return grey_of(image) if drawn.grey else image


def stage(random: np.random.Generator) -> np.random.Generator:
    """A random source of its own for one step, so that the order in which steps are run does not matter."""
    return np.random.default_rng(int(random.integers(2**63)))


def white_noise(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    """Normal numbers of deviation 1, in 65,536 levels up to 4.3 either way: fine enough for noise on 8-bit pictures,
    and drawn in a fifth of the time of ``standard_normal``."""
    return _normal_levels().take(random.integers(_NORMAL_LEVELS, size=shape, dtype=np.uint16))


@cache
def _normal_levels() -> NDArray[np.float32]:
    """The middles of equally likely steps of the normal distribution."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((level + 0.5) / _NORMAL_LEVELS) for level in range(_NORMAL_LEVELS)], np.float32)


def noisy(image: Image, noise: NDArray[np.float32], sigma: float) -> Image:
    """The image with noise of its shape and of deviation 1 added, ``sigma`` levels strong."""
    # In place: the memory of each further array would be fetched from the system anew, a page at a time.
    levels = noise * np.float32(sigma)
    levels += image
    np.rint(levels, out=levels)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def moved_by(image: Image, x: float, y: float) -> Image:
    """The image so many px further to the right and down; what comes in at its edges is mirrored."""
    if x == 0 and y == 0:
        return image
    affine = np.array([[1, 0, x], [0, 1, y]], np.float64)
    moved = cv2.warpAffine(image, affine, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101)
    return moved.astype(np.uint8, copy=False)


def grey_of(image: Image) -> Image:
    """The luma of an RGB image as three equal channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def reduced_to(size_hw: tuple[int, int], factor: float, *, step: int = 1, least: int = 16) -> tuple[int, int]:
    """Height and width after a reduction, whole multiples of ``step`` and not below ``least`` px."""
    height, width = (max(least, step * round(side / factor / step)) for side in size_hw)
    return height, width


def resized(image: Image, size_hw: tuple[int, int], interpolation: int) -> Image:
    """The image at another size; itself where the size is its own."""
    if image.shape[:2] == size_hw:
        return image
    return cv2.resize(image, size_hw[::-1], interpolation=interpolation).astype(np.uint8, copy=False)


Kernel = NDArray[np.float32]

_PATH_POINTS, _INERTIA = 48, 0.88
"""Points that a path is drawn with, and how strongly its direction persists from one to the next."""

_ONE_PIXEL = 0.2
"""Narrower than this (px) a Gaussian is one pixel."""


def gaussian_kernel(sigma_x: float, sigma_y: float, angle: float) -> Kernel:
    """A Gaussian with the standard deviations along its own axes (px), turned by ``angle`` (radians)."""
    radius = max(1, math.ceil(3 * max(sigma_x, sigma_y)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    kernel = np.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
    return (kernel / kernel.sum()).astype(np.float32)


def motion_kernel(length: float, angle: float) -> Kernel:
    """A straight line of ``length`` px through the centre, turned by ``angle`` (radians)."""
    radius = max(1, math.ceil(length / 2))
    offsets = np.linspace(-length / 2, length / 2, 4 * radius + 1)
    return _rasterised(np.column_stack((offsets * math.cos(angle), offsets * math.sin(angle))), radius)


def path_kernel(length: float, random: np.random.Generator) -> Kernel:
    """The trace of a hand that shakes: a smooth random path of about ``length`` px, its middle in the centre.

    The velocity is a random walk with inertia (after Boracchi and Foi, IEEE TIP 2012, who draw the camera's path as a
    particle with inertia and noise).
    """
    turns = random.standard_normal((_PATH_POINTS, 2))
    velocity = np.empty_like(turns)
    velocity[0] = turns[0]
    for index in range(1, _PATH_POINTS):
        velocity[index] = _INERTIA * velocity[index - 1] + math.sqrt(1 - _INERTIA**2) * turns[index]
    path = np.cumsum(velocity, axis=0)
    path *= length / max(float(np.hypot(*np.diff(path, axis=0).T).sum()), 1e-6)
    path -= path.mean(axis=0)
    return _rasterised(path, max(1, math.ceil(float(np.abs(path).max()))))


def _rasterised(points: NDArray[np.float64], radius: int) -> Kernel:
    """Points (n, 2), x and y from the centre (px), each laid on the four pixels around it."""
    column, row = points[:, 0] + radius, points[:, 1] + radius
    left, top = (np.minimum(place.astype(int), 2 * radius - 1) for place in (column, row))
    right_part, bottom_part = column - left, row - top
    rows = np.stack((top, top, top + 1, top + 1), axis=1)
    columns = np.stack((left, left + 1, left, left + 1), axis=1)
    shares = np.stack((1 - right_part, right_part), axis=1)
    weights = np.concatenate((shares * (1 - bottom_part)[:, None], shares * bottom_part[:, None]), axis=1)
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    np.add.at(kernel, (rows, columns), weights.astype(np.float32))
    return kernel / kernel.sum()


def convolved(image: NDArray[np.uint8], kernel: Kernel) -> NDArray[np.uint8]:
    """The image under a kernel, its border mirrored."""
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101).astype(np.uint8, copy=False)


def gaussian_blur(image: NDArray[np.uint8], sigma_x: float, sigma_y: float, angle: float) -> NDArray[np.uint8]:
    """The image under a Gaussian of these deviations (px) along axes turned by ``angle`` (radians)."""
    if max(sigma_x, sigma_y) <= _ONE_PIXEL:
        return image
    if sigma_x == sigma_y:
        blurred = cv2.GaussianBlur(image, (0, 0), sigma_x, borderType=cv2.BORDER_REFLECT_101)
        return blurred.astype(np.uint8, copy=False)
    return convolved(image, gaussian_kernel(max(sigma_x, 0.05), max(sigma_y, 0.05), angle))


Codec = Literal["h264", "mpeg2"]
Planes = NDArray[np.uint8]
"""(3 H / 2, W): luma over the quartered chroma planes, as FFmpeg's yuv420p lies in memory. H and W even."""

_RATE = Fraction(25)
_ENCODERS = {"h264": "libx264", "mpeg2": "mpeg2video"}
_DECODERS = {"h264": "h264", "mpeg2": "mpeg2video"}


def to_planes(rgb: NDArray[np.uint8]) -> Planes:
    """(H, W, 3) uint8 RGB of even sides to 4:2:0: BT.601, full range, each chroma sample the mean of four pixels."""
    height, width = rgb.shape[:2]
    luma, red, blue = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb))
    half = (width // 2, height // 2)
    chroma = [cv2.resize(plane, half, interpolation=cv2.INTER_AREA).ravel() for plane in (blue, red)]
    return np.concatenate((luma.ravel(), *chroma)).reshape(height * 3 // 2, width)


def from_planes(planes: Planes) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 RGB of 4:2:0 planes, chroma enlarged linearly."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    blue, red = planes[height:].reshape(2, height // 2, width // 2)
    full = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in (red, blue)]
    rgb = cv2.cvtColor(cv2.merge((planes[:height], *full)), cv2.COLOR_YCrCb2RGB)
    return rgb.astype(np.uint8, copy=False)


def recoded(
    frames: Iterable[Planes], codec: Codec, quality: float, *, deblock: bool = True, preset: str = "veryfast"
) -> Iterator[Planes]:
    """Frames of one size as the codec leaves them, coded as one sequence with prediction from frame to frame.

    Args:
        frames: 4:2:0 planes.
        codec: ``h264`` (x264) or ``mpeg2``.
        quality: x264's CRF (0 to 51), or MPEG-2's quantiser (1 to 31); higher is worse.
        deblock: H.264's filter over block edges; cheap encoders go without.
        preset: x264's, from how carefully it chooses to how fast it is.
    """
    coder: _Coder | None = None
    for number, planes in enumerate(frames):
        if coder is None:
            coder = _Coder(codec, planes.shape, _options(codec, quality, deblock, preset, planes.shape[1]))
        yield from coder.coded(planes, number)
    if coder is not None:
        yield from coder.rest()


class _Coder:
    """An encoder with its decoder behind it. One thread: the same frames give the same pixels."""

    def __init__(self, codec: Codec, shape: tuple[int, ...], options: dict[str, str]) -> None:
        encoder: Any = av.CodecContext.create(_ENCODERS[codec], "w")
        encoder.height, encoder.width, encoder.pix_fmt = shape[0] * 2 // 3, shape[1], "yuv420p"
        encoder.time_base, encoder.framerate = 1 / _RATE, _RATE
        encoder.thread_count, encoder.options = 1, options
        self._encoder = encoder
        self._decoder: Any = av.CodecContext.create(_DECODERS[codec], "r")
        self._decoder.thread_count = 1

    def coded(self, planes: Planes, number: int) -> Iterator[Planes]:
        """Take a frame; gives those that are ready."""
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = number
        yield from self._decoded(self._encoder.encode(frame))

    def rest(self) -> Iterator[Planes]:
        """Those that were still on their way."""
        yield from self._decoded(self._encoder.encode(None))
        yield from (frame.to_ndarray() for frame in self._decoder.decode(None))

    def _decoded(self, packets: list[Any]) -> Iterator[Planes]:
        for packet in packets:
            yield from (frame.to_ndarray() for frame in self._decoder.decode(packet))


def _options(codec: Codec, quality: float, deblock: bool, preset: str, width: int) -> dict[str, str]:
    if codec == "mpeg2":
        step = str(round(quality))
        return {"qmin": step, "qmax": step, "g": "12", "bf": "0", "flags": "+bitexact", "sc_threshold": "1000000000"}
    settings = ["sliced-threads=0:sync-lookahead=0:rc-lookahead=10", *repeatable_x264(width)]
    if not deblock:
        settings.append("no-deblock=1")
    return {
        "crf": f"{quality:.2f}",
        "preset": preset,
        "bf": "0",
        "threads": "1",
        "x264-params": ":".join((*settings, "log-level=none")),
    }


def jpeg_recoded(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """An RGB image as JPEG of that quality leaves it (4:2:0)."""
    # Colour order is of no matter to the channels' noise, but chroma is: encode as what it is.
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
