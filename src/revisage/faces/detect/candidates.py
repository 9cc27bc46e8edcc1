"""What a network finds in one image, and how duplicates are taken out; what each such network offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage import models, nets
from revisage.core import Image, ModelError
from revisage.faces.detect.pictures import Picture

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Finder", "Found", "SecondLook", "loaded_network", "padded", "planes", "suppressed", "without_parts"]

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


def padded(image: Image, multiple: int) -> Image:
    """The image with black added at the right and below, to sides that are multiples of ``multiple``."""
    height, width = image.shape[:2]
    rows, columns = -(-height // multiple) * multiple, -(-width // multiple) * multiple
    if (rows, columns) == (height, width):
        return image
    canvas = np.zeros((rows, columns, 3), np.uint8)
    canvas[:height, :width] = image
    return canvas


def planes(image: Image) -> Floats:
    """An ``(H, W, 3) uint8`` image as ``(3, H, W) float32`` in [-1, 1], laid out as networks take it."""
    out = np.empty((3, *image.shape[:2]), np.float32)
    for channel, place in zip(cv2.split(image), out, strict=True):
        np.divide(channel, np.float32(127.5), out=place)
    out -= np.float32(1)
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
    net = nets.build(arch, config)
    try:
        net.load_state_dict(models.load_state(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the weights in {path} do not fit the detector {arch} ({reason})") from error
    return net
