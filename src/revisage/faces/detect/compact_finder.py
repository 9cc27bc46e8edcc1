"""The embedded detector: proposals of its first stage, each looked at upright in a small crop by its second."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage import engines, models, nets
from revisage.core import Image, Region
from revisage.faces.detect.candidates import (
    Found,
    Picture,
    as_picture,
    halvable,
    loaded_network,
    padded,
    planes,
    suppressed,
)

__all__ = ["CloserLook", "CompactFinder", "upright_crop"]


Floats = NDArray[np.float32]

_FINE_ENOUGH = 0.6
"""Bilinear sampling takes this much reduction without visible aliasing; beyond it the image is averaged first."""
_MOST = 256
"""Proposals that are looked at in one image at most, the best first: bounds the time a crowd or a pattern takes."""
_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Batches are filled up to one of these: an engine prepares itself for each size that it meets."""
_LOWEST = 0.3
"""What scores less cannot reach the threshold however well it looks; a little less still serves a tracker."""
_FIRST_PART = 0.35
"""Of the two scores' weighted geometric mean the first stage's part."""
_SAME_BEFORE, _SAME = 0.5, 0.4
"""Proposals that overlap more than this (IoU) are one, before the closer look and after it."""


class CloserLook:
    """Scores proposals anew and sets their boxes and landmarks right, with ``CompactRefiner`` on an engine.

    Of those that hold the mirror image is looked at too, and what both looks say is averaged. What the picture's border
    cuts off is looked at where a first look sees it, with the border's pixels beyond the border and with its mirror
    image: the one is right where little is cut off, the other where half of a face is.
    """

    lowest = _LOWEST

    def __init__(self, net: Callable[[Floats], Sequence[Floats]]) -> None:
        """net: ``(N, 3, 64, 64) float32`` in [-1, 1] to one output ``(N, 15)``."""
        self._net = net

    def __call__(self, picture: Image | Picture, proposals: Found, min_score: float) -> Found:
        """Of the proposals in an ``(H, W, 3) uint8 RGB`` image, or a picture, those of ``min_score`` or more, without
        duplicates."""
        return self.each([as_picture(picture)], [proposals], min_score)[0]

    def each(self, pictures: Sequence[Picture], proposals: Sequence[Found], min_score: float) -> list[Found]:
        """The same for the proposals in each of several pictures, whose crops fill common batches."""
        chosen = [suppressed(found, _SAME_BEFORE) for found in proposals]
        chosen = [found[np.arange(min(len(found), _MOST))] for found in chosen]
        owners = np.repeat(np.arange(len(pictures)), [len(found) for found in chosen])
        if not len(owners):
            return [Found.none() for _ in pictures]
        held, found = self._looked_at([pictures[owner] for owner in owners.tolist()], Found.joined(chosen), min_score)
        return [
            suppressed(found[(owners[held] == number) & (found.scores >= min_score)], _SAME)
            for number in range(len(pictures))
        ]

    def _looked_at(
        self, pictures: Sequence[Picture], proposals: Found, min_score: float
    ) -> tuple[NDArray[np.bool_], Found]:
        """Which of proposals, each in a picture of its own, hold at a first look, ``(N,) bool``, and what these are."""
        affines = _upright_affines(proposals)
        cut = _is_cut(proposals, pictures)
        bordered = [picture for picture, is_cut in zip(pictures, cut, strict=True) if is_cut]
        if bordered:
            affines[cut] = _upright_affines(self._looks(bordered, affines[cut]))
        crops, others = _crops(pictures, affines), _crops(bordered, affines[cut], cv2.BORDER_REFLECT)
        outputs = self._averaged(crops, others, cut)
        held = _scored(proposals, Found(*nets.decode_crops(outputs, affines))).scores >= min_score
        if not held.any():
            return held, Found.none()
        mirrored = self._averaged(crops[held][..., ::-1], others[held[cut]][..., ::-1], cut[held])
        mirrored = nets.unmirrored(mirrored)
        looks = Found(*nets.decode_crops((outputs[held] + mirrored) * np.float32(0.5), affines[held]))
        return held, _scored(proposals[held], looks)

    def at(self, picture: Picture, affines: NDArray[np.float64]) -> Found:
        """What stands in the crops of ``(N, 2, 3)`` affines, by this stage alone."""
        return self._looks([picture] * len(affines), affines) if len(affines) else Found.none()

    def _looks(self, pictures: Sequence[Picture], affines: NDArray[np.float64]) -> Found:
        return Found(*nets.decode_crops(self._outputs(_crops(pictures, affines)), affines))

    def in_turns(self, picture: Picture, affines: NDArray[np.float64]) -> Found:
        """What stands in crops turned by one, two or three quarters: of each the turn with the best score."""
        if not len(affines):
            return Found.none()
        crops = _crops([picture] * len(affines), affines)
        quarters = [_quarter_turned(crops, affines, count) for count in (1, 2, 3)]
        outputs = self._outputs(np.concatenate([turned for turned, _ in quarters]))
        looks = Found(*nets.decode_crops(outputs, np.concatenate([affine for _, affine in quarters])))
        best = looks.scores.reshape(3, -1).argmax(axis=0) * len(affines) + np.arange(len(affines))
        return looks[best]

    def _averaged(self, crops: Floats, others: Floats, which: NDArray[np.bool_]) -> Floats:
        """Raw outputs of crops, (N, 15); of some of them the mean with those of others."""
        outputs = self._outputs(np.concatenate((crops, others)))
        outputs, more = outputs[: len(crops)], outputs[len(crops) :]
        outputs[which] = (outputs[which] + more) * np.float32(0.5)
        return outputs

    def _outputs(self, crops: Floats) -> Floats:
        """Raw outputs of crops, (N, 15)."""
        parts = [np.zeros((0, nets.OUTPUTS), np.float32)]
        for start in range(0, len(crops), _BATCHES[-1]):
            some = crops[start : start + _BATCHES[-1]]
            batch = np.zeros((next(size for size in _BATCHES if size >= len(some)), *some.shape[1:]), np.float32)
            batch[: len(some)] = some
            parts.append(self._net(batch)[0][: len(some)])
        return np.concatenate(parts)


def _upright_affines(found: Found) -> NDArray[np.float64]:
    return nets.crop_affines(found.boxes_xyxy, nets.rolls(found.landmarks))


def _is_cut(found: Found, pictures: Sequence[Picture]) -> NDArray[np.bool_]:
    """Which reach beyond the border of their picture."""
    low, high = found.boxes_xyxy[:, :2], found.boxes_xyxy[:, 2:]
    ends = np.array([picture.size_hw[::-1] for picture in pictures]) - 0.5
    return np.asarray(((low < -0.5) | (high > ends)).any(axis=1))


def _scored(proposals: Found, looks: Found) -> Found:
    """What a closer look saw, with the mean of both stages' scores."""
    scores = proposals.scores**_FIRST_PART * looks.scores ** (1 - _FIRST_PART)
    return Found(looks.boxes_xyxy, looks.landmarks, scores.astype(np.float32))


def _crops(pictures: Sequence[Picture], affines: NDArray[np.float64], border: int = cv2.BORDER_REPLICATE) -> Floats:
    """What a network sees of pictures under ``(N, 2, 3)`` affines, one of each: ``(N, 3, 64, 64)`` in [-1, 1]."""
    if not pictures:
        return np.empty((0, 3, nets.CROP, nets.CROP), np.float32)
    crops = (upright_crop(each, affine, nets.CROP, border) for each, affine in zip(pictures, affines, strict=True))
    return planes(list(crops))


def _quarter_turned(crops: Floats, affines: NDArray[np.float64], count: int) -> tuple[Floats, NDArray[np.float64]]:
    """Crops turned counter-clockwise by ``count`` quarters, and the affines to them."""
    quarter = np.linalg.matrix_power(np.array([[0, 1, 0], [-1, 0, nets.CROP - 1], [0, 0, 1]], np.float64), count)
    whole = np.concatenate((affines, np.broadcast_to([[[0.0, 0.0, 1.0]]], (len(affines), 1, 3))), axis=1)
    return np.rot90(crops, count, axes=(2, 3)), (quarter @ whole)[:, :2]


def upright_crop(
    picture: Image | Picture, affine: NDArray[np.float64], side: int, border: int = cv2.BORDER_REPLICATE
) -> Image:
    """A ``(side, side, 3) uint8`` crop of an ``(H, W, 3) uint8`` image, or a picture, under a similarity ``(2, 3)``
    from it.

    The picture goes on beyond its border as its border pixels do, or as OpenCV's ``border`` says.
    """
    picture, ((a, b, move_x), (c, d, move_y)) = as_picture(picture), affine.tolist()
    scale = math.sqrt(abs(a * d - b * c))
    region = halvable(_shown(picture.size_hw, affine, side), scale, picture.size_hw)
    height, width = rows, columns = region.size_hw
    if scale < _FINE_ENOUGH:
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        part = picture.rgb(region, size_hw=(rows, columns))
    else:
        # Asked for its own size, a frame would reduce and enlarge its chroma by area averages.
        part = picture.rgb(region)
    # Pixel centres at integers: reduced pixel i stands for source pixel (i + 0.5) * ratio - 0.5.
    ratio_x, ratio_y = width / columns, height / rows
    x, y = region.left + ratio_x / 2 - 0.5, region.top + ratio_y / 2 - 0.5
    from_part = np.array(
        [[a * ratio_x, b * ratio_y, a * x + b * y + move_x], [c * ratio_x, d * ratio_y, c * x + d * y + move_y]]
    )
    crop = cv2.warpAffine(part, from_part, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(crop, np.uint8)


def _shown(size_hw: tuple[int, int], affine: NDArray[np.float64], side: int) -> Region:
    """The part of a picture that a crop shows, at least one pixel."""
    (a, b, move_x), (c, d, move_y) = affine.tolist()
    area = a * d - b * c
    corners = [(x - move_x, y - move_y) for x in (-1, side) for y in (-1, side)]
    left, right = _cells([(d * x - b * y) / area for x, y in corners], size_hw[1])
    top, bottom = _cells([(a * y - c * x) / area for x, y in corners], size_hw[0])
    return Region(left, top, right, bottom)


def _cells(places: list[float], limit: int) -> tuple[int, int]:
    """The first of ``limit`` cells and the end of those that hold all places, at least one."""
    first = min(max(math.floor(min(places)), 0), limit - 1)
    return first, min(max(math.ceil(max(places)) + 1, first + 1), limit)


_THRESHOLD = 0.5
_LOW = 0.6
"""Of the threshold: so little still carries a track on that was found before."""

_AT_ONCE = 4
"""Images that the first stage sees at once, at most: four of 128 x 128 px take 0.78 of what they take one by one, and
eight as much each. The fewer the sizes of batches, the fewer an engine prepares itself for."""

_HINT = 0.25
"""Score from which the branch for faces that lie hints at one."""

_SCALES, _CROWDS = 4, 6
"""An image is searched at up to three sizes, and around a face at a fourth; its proposals, and then those that hold,
fill batches of other sizes."""


class CompactFinder:
    """``compact-detector`` on an engine: proposals of its first stage. See :class:`.candidates.Finder`.

    Its threshold is the one that its training measured as best and wrote into the weights.
    """

    pixels = 640 * 480
    smallest = 16
    largest: int | None = 240

    def __init__(
        self, engine: engines.Engine, second_look: CloserLook | None = None, threshold: float = _THRESHOLD
    ) -> None:
        self._engine = engine
        self.second_look = second_look
        self.threshold = threshold
        self.low_threshold = _LOW * threshold

    @classmethod
    def load(cls, path: Path, weight_hash: str, *, device: str, engine: str, precision: str = "fp32") -> CompactFinder:
        """From a weights file.

        Args:
            path: of the weights.
            weight_hash: SHA-256 of the file, under which compiled networks are kept.
            device, engine: where and by what it runs.
            precision: of the first stage, which only proposes. The second, which sets the coordinates, runs in fp32.

        Raises:
            ModelError: the file is damaged, or its weights are of another network.
            DeviceError: the device is not on this machine.
        """
        on_engine = functools.partial(engines.make_engine, device=device, engine=engine, cache_key=weight_hash)
        first, second, threshold = (_shipped(weight_hash) if engine == "openvino" else None) or _in_torch(path)
        second_look = None
        if second is not None:
            second_look = CloserLook(on_engine(second, (nets.CROP, nets.CROP), precision="fp32", sizes=_CROWDS))
        # Without a second stage the first one's coordinates stand, and bf16 would make them jitter.
        proposing = on_engine(first, None, precision=precision if second_look else "fp32", sizes=_SCALES)
        return cls(proposing, second_look, threshold)

    def __call__(self, image: Image, min_score: float) -> Found:
        """Detections in an ``(H, W, 3) uint8 RGB`` image."""
        return self.each([image], min_score)[0]

    def each(self, images: Sequence[Image], min_score: float) -> list[Found]:
        """The same in each of several images of one size."""
        found: list[Found] = []
        for start in range(0, len(images), _AT_ONCE):
            maps = self._maps(images[start : start + _AT_ONCE])[: len(nets.STRIDES)]
            found += [Found(*nets.decode_maps(levels, min_score=min_score)) for levels in zip(*maps, strict=True)]
        return found

    def with_hints(self, image: Image, min_score: float) -> tuple[Found, Found]:
        """See :meth:`.candidates.Finder.with_hints`."""
        maps = self._maps([image])
        upright, lying = maps[: len(nets.STRIDES)], maps[len(nets.STRIDES) :]
        found = Found(*nets.decode_maps(upright, min_score=min_score))
        return found, Found(*nets.decode_lying_maps(lying, min_score=_HINT))

    def _maps(self, images: Sequence[Image]) -> Sequence[Floats]:
        """The raw maps of all branches."""
        return self._engine(planes([padded(image, 32) for image in images]))


def _shipped(weight_hash: str) -> tuple[Any, Any, float] | None:
    """Both stages and the threshold in OpenVINO's form, which needs no torch, where it was made of these weights."""
    paths = [models.compiled_path("compact-detector", weight_hash, part) for part in ("", "refine")]
    weights = models.local_path("compact-detector")
    first, second = (None if path is None else engines.ShippedNetwork(path, weights) for path in paths)
    if first is None or second is None:
        return None
    return first, second, float(first.notes.get("threshold", _THRESHOLD))


def _in_torch(path: Path) -> tuple[Any, Any, float]:
    """The same from a weights file; None in place of a second stage that it has not."""
    about = models.metadata(path)
    net = loaded_network(path, "compact-detector", about.get("config"))
    second = net.get_submodule("refine") if about.get("config", {}).get("refine") else None
    return net, second, float(about.get("threshold", _THRESHOLD))
