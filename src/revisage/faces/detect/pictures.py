"""What faces are looked for in: an image, or a frame of which only the parts that are looked at become RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from revisage.core import Image, Region

__all__ = ["ImagePicture", "Picture", "as_picture"]


class Picture(Protocol):
    """Pixels that are made when they are asked for; :class:`revisage.media.Frame` is one.

    Attributes:
        size_hw: height and width (px).
    """

    @property
    def size_hw(self) -> tuple[int, int]: ...

    def rgb(self, region: Region | None = None, *, size_hw: tuple[int, int] | None = None) -> Image:
        """A region, or all, as ``(H, W, 3) uint8 RGB``, reduced to a size by area averages where one is given."""
        ...


@dataclass(frozen=True, eq=False)
class ImagePicture:
    """An ``(H, W, 3) uint8 RGB`` image as a :class:`Picture`."""

    image: Image

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width (px)."""
        return int(self.image.shape[0]), int(self.image.shape[1])

    def rgb(self, region: Region | None = None, *, size_hw: tuple[int, int] | None = None) -> Image:
        """See :meth:`Picture.rgb`; a view where nothing is reduced."""
        part = self.image if region is None else self.image[region.slices]
        return part if size_hw is None or size_hw == part.shape[:2] else _averaged(part, size_hw[::-1])


def as_picture(picture: Image | Picture) -> Picture:
    """An image or a picture as a picture.

    Raises:
        ValueError: an image of another shape or type than ``(H, W, 3) uint8``.
    """
    if not isinstance(picture, np.ndarray):
        return picture
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise ValueError(f"an image is (H, W, 3) uint8 RGB, got {picture.shape} {picture.dtype}")
    return ImagePicture(picture)


def _averaged(image: Image, size: tuple[int, int]) -> Image:
    """The image reduced to a size (width, height): by halves while it can be, in about half the time."""
    height, width = image.shape[:2]
    while width % 2 == 0 and height % 2 == 0 and width >= 2 * size[0] and height >= 2 * size[1]:
        height, width = height // 2, width // 2
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
