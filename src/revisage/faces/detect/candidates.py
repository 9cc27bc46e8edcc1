"""What faces are looked for in, what a network finds there, and how duplicates are taken out; what such networks offer.

What is looked at is an image, or a frame of which only the parts that are looked at become RGB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage import media, models, nets
from revisage.core import Image, ModelError, Region

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Finder",
    "Found",
    "ImagePicture",
    "Picture",
    "PicturePart",
    "SecondLook",
    "as_picture",
    "halvable",
    "loaded_network",
    "overlaps",
    "padded",
    "planes",
    "suppressed",
    "without_parts",
]


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
        return part if size_hw is None or size_hw == part.shape[:2] else media.area_resized(part, size_hw)


@dataclass(frozen=True, eq=False)
class PicturePart:
    """A region of a :class:`Picture` as one of its own."""

    picture: Picture
    region: Region

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width (px)."""
        return self.region.size_hw

    def rgb(self, region: Region | None = None, *, size_hw: tuple[int, int] | None = None) -> Image:
        """See :meth:`Picture.rgb`."""
        inside = region or Region(0, 0, *self.size_hw[::-1])
        left, top = self.region.left, self.region.top
        moved = Region(left + inside.left, top + inside.top, left + inside.right, top + inside.bottom)
        return self.picture.rgb(moved, size_hw=size_hw)


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


def halvable(region: Region, scale: float, size_hw: tuple[int, int]) -> Region:
    """A part of a picture of ``size_hw`` px that is to be reduced by ``scale``, with up to so few px more on each side
    that it can be halved as often as that allows, which is the quickest."""
    step = 2 ** math.floor(math.log2(1 / scale)) if scale < 1 else 1
    left, top = (side // step * step for side in (region.left, region.top))
    right, bottom = (-(-side // step) * step for side in (region.right, region.bottom))
    return Region(left, top, min(right, size_hw[1]), min(bottom, size_hw[0]))


Floats = NDArray[np.float32]

_PART_INSIDE, _PART_AREA = 0.7, 0.4
"""Part of a face is what lies inside it by at least the first share of its own area and has at most the second share of
the face's."""


@dataclass(frozen=True, eq=False)
class Found:
    """Detections of one image, in its pixels (centres at integers), in no order.

    Attributes:
        boxes_xyxy: ``(N, 4) float32``, left, top, right, bottom.
        landmarks: ``(N, 5, 2) float32``, x, y: eyes, nose, mouth corners, the viewer's left first.
        scores: ``(N,) float32``, 0 to 1.
    """

    boxes_xyxy: Floats
    landmarks: Floats
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Found:
        return Found(self.boxes_xyxy[chosen], self.landmarks[chosen], self.scores[chosen])

    def at_least(self, side: float) -> Found:
        """Those whose longer side is ``side`` px or more."""
        return self[(self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]).max(axis=1, initial=0) >= side]

    def scaled(self, factors: tuple[float, float]) -> Found:
        """These detections in the image resized by (x, y) ``factors``."""
        scale = np.array(factors, dtype=np.float32)
        boxes = (self.boxes_xyxy.reshape(-1, 2, 2) + 0.5) * scale - 0.5
        landmarks = (self.landmarks + 0.5) * scale - 0.5
        return Found(boxes.reshape(-1, 4).astype(np.float32), landmarks.astype(np.float32), self.scores)

    def shifted(self, by: tuple[float, float]) -> Found:
        """These detections (x, y) px further."""
        away = np.array(by, dtype=np.float32)
        return Found(self.boxes_xyxy + np.tile(away, 2), self.landmarks + away, self.scores)

    def mapped(self, linear: NDArray[np.float64], origin: NDArray[np.float64]) -> Found:
        """These detections under ``linear (2, 2) @ (point - origin (2,))``: their boxes turn as the ellipse in each."""
        corners = self.boxes_xyxy.astype(np.float64).reshape(-1, 2, 2)
        middles = (corners.mean(axis=1) - origin) @ linear.T
        half = np.sqrt((np.diff(corners, axis=1)[:, 0] / 2) ** 2 @ (linear**2).T)
        boxes = np.concatenate((middles - half, middles + half), axis=1)
        landmarks = (self.landmarks - origin) @ linear.T
        return Found(boxes.astype(np.float32), landmarks.astype(np.float32), self.scores)

    @property
    def areas(self) -> Floats:
        """Areas of the boxes, ``(N,)``; 0 for one that is turned inside out."""
        return _areas(self.boxes_xyxy)

    @staticmethod
    def none() -> Found:
        """No detections."""
        return Found(np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32))

    @staticmethod
    def joined(parts: list[Found]) -> Found:
        """All detections of several finds in the same image."""
        return Found(
            np.concatenate([part.boxes_xyxy for part in parts]),
            np.concatenate([part.landmarks for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )


class SecondLook(Protocol):
    """Looks again at detections, in the image itself.

    Attributes:
        lowest: score from which a detection is worth the look.
    """

    @property
    def lowest(self) -> float: ...

    def __call__(self, picture: Image | Picture, proposals: Found, min_score: float) -> Found:
        """Those of ``min_score`` or more, without duplicates, in an ``(H, W, 3) uint8 RGB`` image or a picture."""
        ...

    def each(self, pictures: Sequence[Picture], proposals: Sequence[Found], min_score: float) -> list[Found]:
        """The same in each of several pictures, in less time than one after another."""
        ...

    def at(self, picture: Picture, affines: NDArray[np.float64]) -> Found:
        """What stands in the crops of ``(N, 2, 3)`` affines."""
        ...

    def in_turns(self, picture: Picture, affines: NDArray[np.float64]) -> Found:
        """What stands in these crops turned by one, two or three quarters, each in its best turn."""
        ...


class Finder(Protocol):
    """Finds faces in an image at the size it is given.

    Attributes:
        threshold: score from which a detection is a face, unless the user says otherwise.
        low_threshold: score from which it may be one.
        pixels: how many pixels an image should have at most when it is searched for faces of all sizes.
        smallest: side of the smallest face that is found well (px).
        largest: side of the largest face that is found well (px); None when there is no such limit.
        second_look: what looks at its detections again; None when they stand as they are.
    """

    @property
    def threshold(self) -> float: ...
    @property
    def low_threshold(self) -> float: ...
    @property
    def pixels(self) -> int: ...
    @property
    def smallest(self) -> int: ...
    @property
    def largest(self) -> int | None: ...
    @property
    def second_look(self) -> SecondLook | None: ...

    def __call__(self, image: Image, min_score: float) -> Found:
        """Detections of ``min_score`` or more in an ``(H, W, 3) uint8 RGB`` image; duplicates may remain."""
        ...

    def each(self, images: Sequence[Image], min_score: float) -> list[Found]:
        """The same in each of several images of one size, in less time than one after another."""
        ...

    def with_hints(self, image: Image, min_score: float) -> tuple[Found, Found]:
        """The same detections, and places where faces may lie on their side or stand on their head, with landmarks of
        NaN; none where a network has no eye for them."""
        ...


def padded(image: Image, multiple: int) -> Image:
    """The image with black added at the right and below, to sides that are multiples of ``multiple``."""
    height, width = image.shape[:2]
    rows, columns = -(-height // multiple) * multiple, -(-width // multiple) * multiple
    if (rows, columns) == (height, width):
        return image
    canvas = np.zeros((rows, columns, 3), np.uint8)
    canvas[:height, :width] = image
    return canvas


_UNITS = np.arange(256, dtype=np.float32) / np.float32(127.5) - np.float32(1)
"""What networks take for each level."""


def planes(images: Sequence[Image]) -> Floats:
    """``N`` images, ``(H, W, 3) uint8``, as ``(N, 3, H, W) float32`` in [-1, 1], laid out as networks take them."""
    out = np.empty((len(images), 3, *images[0].shape[:2]), np.float32)
    for image, places in zip(images, out, strict=True):
        for channel, place in zip(cv2.split(image), places, strict=True):
            cv2.LUT(channel, _UNITS, place)
    return out


def suppressed(found: Found, overlap: float) -> Found:
    """Greedy non-maximum suppression: of boxes whose IoU is above ``overlap`` the best stays. Best first."""
    found = found[np.lexsort((*found.boxes_xyxy.T, -found.scores))]
    areas = _areas(found.boxes_xyxy)
    alive = np.ones(len(found), dtype=bool)
    kept = []
    for best in range(len(found)):
        if not alive[best]:
            continue
        kept.append(best)
        shared = _shared_areas(found.boxes_xyxy, found.boxes_xyxy[best])
        alive &= shared <= overlap * np.maximum(areas + areas[best] - shared, 1e-6)
    return found[np.array(kept, dtype=np.intp)]


def overlaps(first: Found, second: Found) -> Floats:
    """IoU of each of the first with each of the second: ``(A, B) float32``."""
    areas = first.areas
    columns = [
        shared / np.maximum(areas + area - shared, 1e-6)
        for box, area in zip(second.boxes_xyxy, second.areas, strict=True)
        for shared in [_shared_areas(first.boxes_xyxy, box)]
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((len(first), 0), np.float32)


def without_parts(fine: Found, coarse: Found) -> Found:
    """Of detections at a finer scale those that are no parts of a face seen at a coarser one: enlarged far beyond
    what a network knows, an eye or a mouth may pass for a face."""
    areas = _areas(fine.boxes_xyxy)
    part = np.zeros(len(fine), dtype=bool)
    for box, area in zip(coarse.boxes_xyxy, _areas(coarse.boxes_xyxy), strict=True):
        shared = _shared_areas(fine.boxes_xyxy, box)
        part |= (shared > _PART_INSIDE * areas) & (areas < _PART_AREA * area)
    return fine[~part]


def _areas(boxes: Floats) -> Floats:
    """Areas of ``(N, 4)`` boxes; 0 for one that is turned inside out."""
    sides: Floats = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def _shared_areas(boxes: Floats, box: Floats) -> Floats:
    """Areas that ``(N, 4)`` boxes share with one."""
    return _areas(np.concatenate((np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])), axis=1))


def loaded_network(path: Path, arch: str, config: Mapping[str, Any] | None) -> nn.Module:
    """A network with its weights.

    Raises:
        ModelError: the file is damaged, or its weights are of another network.
    """
    net = nets.build_empty(arch, config)
    try:
        net.load_state_dict(models.load_state(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the weights in {path} do not fit the detector {arch} ({reason})") from error
    return net
