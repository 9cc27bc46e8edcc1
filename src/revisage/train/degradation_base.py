"""What every kind of damage is: ranges to draw from, what was drawn, and frames that pass through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "REFERENCE_SIZE",
    "Degradation",
    "Drawn",
    "Image",
    "Range",
    "grey_of",
    "noisy",
    "reduced_to",
    "resized",
    "stage",
    "white_noise",
]

#: Lengths of a configuration are in px of a face in FFHQ framing that is this large.
REFERENCE_SIZE = 512
_NORMAL_LEVELS = 2**16

Image = NDArray[np.uint8]
Range = tuple[float, float]


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
