"""Find faces with landmarks in images of any size."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from revisage import engines, models, nets
from revisage.core import DETECTORS, ConfigError, Face, Image, Region, nearest
from revisage.faces.alignment import crop_affine
from revisage.faces.detect.candidates import (
    Finder,
    Found,
    Picture,
    PicturePart,
    as_picture,
    halvable,
    suppressed,
    without_parts,
)
from revisage.faces.detect.compact_finder import CompactFinder, upright_crop
from revisage.faces.detect.official_finders import RetinaFaceFinder, YuNetFinder
from revisage.faces.detect.turned_faces import WINDOW, TurnedFaces, turned_window, window_scale

__all__ = ["FaceDetector", "load_detector", "nearest_faces", "working_scales"]

_MODELS = {"compact": "compact-detector"}
_OVERLAP = 0.4
"""IoU from which two detections are one face, found at several scales."""

_SMALLEST_PART, _SMALLEST_PX = 96, 30
"""In a large picture faces are looked for down to this part of its side (the root of its area), or this many px."""
_REDUCED = 0.25
"""How far an image is reduced for faces larger than a network knows: 240 px become 60, and the second stage sets their
landmarks in the image itself."""
_WORTHWHILE = 1.25
"""A second look pays from this much more detail on."""
_NOT_MUCH_FINER = 2.0
"""Up to this much more detail it shows all that the first one would, so that it will do alone."""
_TURNED_SIDE, _SURER = 256, 0.05
"""A face is turned in a crop of this side (px), and stands otherwise where that raises the score by this much: by 0.17
and more on faces turned by 135° and 180°, on none of 49 faces of the test scenes."""
_NEAR, _SIZE_RATIO = 1.0, 1.7
"""A face that is at most so many sizes away from where it was expected, and at most so many times as large, is it."""
_LEAST_SIDE = 64
"""Below this side a network sees hardly more than its own border (px)."""


Propose = Callable[[Image], tuple[Found, ...]]
"""What a network finds in an image: faces, and hints of others that lie where these are looked for."""


class FaceDetector:
    """Finds faces in images of any size and shape.

    Attributes:
        name: as the user calls it.
        weight_hash: SHA-256 of the weights file in hex.
        threshold: score from which a face counts.
        low_threshold: score down to which :meth:`candidates` reports.
    """

    def __init__(self, name: str, finder: Finder, weight_hash: str, threshold: float | None = None) -> None:
        self.name = name
        self.weight_hash = weight_hash
        self.threshold = finder.threshold if threshold is None else threshold
        self.low_threshold = self.threshold * finder.low_threshold / finder.threshold
        self._finder = finder
        look = finder.second_look
        self._turned = TurnedFaces(finder, look, self.threshold, self.low_threshold) if look else None

    def __call__(self, image: Image) -> list[Face]:
        """The faces of an image, the largest first.

        Args:
            image: ``(H, W, 3) uint8 RGB`` of any size.

        Raises:
            ValueError: the image is of another shape or type.
        """
        return [face for face in self.candidates(image, turned=True) if face.score >= self.threshold]

    def is_turned(self, picture: Image | Picture, face: Face) -> bool:
        """Whether a face that was found lies on its side or stands on its head, more than about 60° from upright.

        A network that knows upright faces finds some turned ones too, with landmarks as an upright face would have
        them: restored by those, eyes are painted on a chin. Shown the face turned back, it is surer of it.

        Args:
            picture: in which it was found.
            face: as it was found.
        """
        crop = upright_crop(picture, crop_affine(face.landmarks, _TURNED_SIDE), _TURNED_SIDE)
        least = self._best_score(crop) + _SURER
        # A network that is sure already can be no surer of any other turn: three searches less.
        return least < 1 and any(
            self._best_score(np.ascontiguousarray(np.rot90(crop, quarter))) > least for quarter in range(1, 4)
        )

    def _best_score(self, image: Image) -> float:
        return max((face.score for face in self.candidates(image)), default=0.0)

    def candidates(self, picture: Image | Picture, *, turned: bool = False, within: Region | None = None) -> list[Face]:
        """Faces and what may be faces, the largest first: a tracker carries tracks on with them.

        The picture is searched at a size that suits the network, a large one in more detail, for small faces, and again
        reduced when its faces may be larger than the network knows. Boxes are cut at its border; landmarks are not.

        Args:
            picture: ``(H, W, 3) uint8 RGB`` of any size, or a frame.
            turned: those that lie on their side or stand on their head are looked for too, and none of them is taken
                for an upright one. Where the network has no second stage, they are left out.
            within: the part of the picture (px) that is searched, in the sizes in which all of it would be; all if
                None.

        Raises:
            ValueError: an image is of another shape or type.
        """
        picture = as_picture(picture)
        scales = working_scales(picture.size_hw, self._finder.pixels, self._finder.smallest)
        if self._finder.largest is not None and scales[-1] < _NOT_MUCH_FINER * scales[0]:
            # What is too large for the finer scale is found in the reduced picture.
            scales = scales[-1:]
        part = picture if within is None else PicturePart(picture, within)
        if self._finder.second_look:
            found = self._confirmed(part, scales, self._turned if turned else None)
        else:
            found = self._found(part, scales)
        if within is not None:
            found = found.shifted((within.left, within.top))
        faces = [face for number in range(len(found)) if (face := _face(found, number, picture.size_hw))]
        if turned and not self._finder.second_look:
            faces = [face for face in faces if not self.is_turned(picture, face)]
        return sorted(faces, key=lambda face: (-face.size, face.box))

    @property
    def can_follow(self) -> bool:
        """Whether :meth:`near` sets landmarks as well as a search does: where a second stage sets them, which sees
        faces of all sizes alike."""
        return self._finder.second_look is not None

    def near(
        self, picture: Image | Picture, expected: Sequence[Face], unsure: Sequence[Face] = ()
    ) -> list[Face | None]:
        """Look for faces where they are expected, as in the next frame of a video, and nowhere else.

        Args:
            picture: as for :meth:`candidates`.
            expected: faces off by their size at most.
            unsure: what may be faces, off by so little that the second stage sees them where they were: it looks again
                whether they are.

        Returns:
            For each of both the face, or what may be one, that is nearest; None without.
        """
        return self._near_each([as_picture(picture)], [expected], unsure)[0]

    def near_each(self, pictures: Sequence[Picture], expected: Sequence[Sequence[Face]]) -> list[list[Face | None]]:
        """What :meth:`near` gives for each of several pictures and the faces expected there, in less time than one
        after another: networks look at several crops at once."""
        return self._near_each(pictures, expected, ())

    def _near_each(
        self, pictures: Sequence[Picture], expected: Sequence[Sequence[Face]], unsure: Sequence[Face]
    ) -> list[list[Face | None]]:
        """``unsure``: what may be faces of each picture."""
        look = self._finder.second_look
        proposals = self._search_near(pictures, expected, look.lowest if look else self.low_threshold)
        found = [Found.joined([Found.none(), *each, *map(_proposal, unsure)]) for each in proposals]
        if look:
            found = look.each(pictures, found, self.low_threshold)
        sought = ([*faces, *unsure] for faces in expected)
        return [
            nearest_faces(
                faces, [face for number in range(len(each)) if (face := _face(each, number, picture.size_hw))]
            )
            for faces, picture, each in zip(sought, pictures, found, strict=True)
        ]

    def _found(self, picture: Picture, scales: list[float]) -> Found:
        """What the network finds at all scales."""

        def propose(image: Image) -> tuple[Found]:
            return (self._finder(image, self.low_threshold),)

        found = Found.joined([Found.none(), *self._search_large(picture, scales[0], propose)])
        for scale in scales:
            (finer,) = self._search(picture, scale, propose)
            found = Found.joined([found, without_parts(finer, found)])
        return suppressed(found, _OVERLAP)

    def _confirmed(self, picture: Picture, scales: list[float], turned: TurnedFaces | None) -> Found:
        """What a closer look leaves of all that the network proposes. Only then do large faces displace small ones:
        a crowd as a whole may be proposed as one face."""
        look = self._finder.second_look
        assert look is not None
        lowest = look.lowest

        def propose(image: Image) -> tuple[Found, ...]:
            return self._finder.with_hints(image, lowest) if turned else (self._finder(image, lowest),)

        searches = [self._search_large(picture, scales[0], propose)]
        searches += [self._search(picture, scale, propose) for scale in scales]
        proposals, *hints = (Found.joined(list(kind)) for kind in zip(*filter(None, searches), strict=True))
        found = look(picture, proposals, self.low_threshold)
        found = without_parts(found, found[found.scores >= self.threshold])
        return turned(picture, hints[0], found) if turned else found

    def _search_large(self, picture: Picture, scale: float, propose: Propose) -> tuple[Found, ...]:
        """Faces that are too large for the network at a scale, from a reduced picture; in its own pixels."""
        largest = self._finder.largest
        if largest is None or min(picture.size_hw) * scale < largest:
            return ()
        return tuple(found.at_least(largest / scale) for found in self._search(picture, scale * _REDUCED, propose))

    def _search(self, picture: Picture, scale: float, propose: Propose) -> tuple[Found, ...]:
        """What is proposed in the picture at a scale, in the picture's own pixels."""
        height, width = picture.size_hw
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = picture.rgb() if scale == 1 else picture.rgb(size_hw=size[::-1])
        proposed = propose(np.ascontiguousarray(_at_least(small, _LEAST_SIDE)))
        if scale == 1:
            return proposed
        return tuple(found.scaled((width / size[0], height / size[1])) for found in proposed)

    def _search_near(
        self, pictures: Sequence[Picture], expected: Sequence[Sequence[Face]], lowest: float
    ) -> list[list[Found]]:
        """What the network finds of each face and near it, in the picture's own pixels; by pictures."""
        faces = [(number, face) for number, each in enumerate(expected) for face in each]
        windows = [None if face.lies else _window(pictures[number], face) for number, face in faces]
        upright = iter(self._finder.each([window.image for window in windows if window], lowest))
        found: list[list[Found]] = [[] for _ in pictures]
        for (number, face), window in zip(faces, windows, strict=True):
            if face.lies:
                propose = functools.partial(self._finder, min_score=lowest)
                here = turned_window(propose, pictures[number], face.centre, face.size, face.roll)
                found[number].append(_near(face, here))
            elif window is not None:
                found[number].append(_near(face, window.in_picture(next(upright))))
        return found


@dataclass(frozen=True, eq=False)
class _Window:
    """What is around a face: ``image``, ``(128, 128, 3) uint8 RGB``, reduced by ``factors`` (x, y) from what begins at
    ``origin`` (x, y px)."""

    image: Image
    factors: tuple[float, float]
    origin: tuple[float, float]

    def in_picture(self, found: Found) -> Found:
        """What was found in it, in the picture's own pixels."""
        return found.scaled(self.factors).shifted(self.origin)


def _window(picture: Picture, face: Face) -> _Window | None:
    """The window to look for an upright face in; None where it is outside of the picture."""
    scale = window_scale(face.size)
    reach = WINDOW / scale / 2
    height, width = picture.size_hw
    left, right = (int(np.clip(round(face.centre[0] + away), 0, width)) for away in (-reach, reach))
    top, bottom = (int(np.clip(round(face.centre[1] + away), 0, height)) for away in (-reach, reach))
    if right <= left or bottom <= top:
        return None
    region = halvable(Region(left, top, right, bottom), scale, picture.size_hw)
    height, width = region.size_hw
    rows, columns = (max(1, min(WINDOW, round(side * scale))) for side in (height, width))
    small = picture.rgb(region, size_hw=None if scale == 1 else (rows, columns))
    return _Window(_at_least(small, WINDOW), (width / columns, height / rows), (region.left, region.top))


def _at_least(image: Image, side: int) -> Image:
    """An image with black added to it where its sides are shorter."""
    pad_x, pad_y = max(0, side - image.shape[1]), max(0, side - image.shape[0])
    if not (pad_x or pad_y):
        return image
    return cv2.copyMakeBorder(image, 0, pad_y, 0, pad_x, cv2.BORDER_CONSTANT).astype(np.uint8, copy=False)


def working_scales(size_hw: tuple[int, int], pixels: int, smallest: int) -> list[float]:
    """The scales that an image is searched at, 1 or below.

    The first brings it to at most ``pixels``: large faces and most others are found there. Where that makes faces
    of a 96th of the picture (30 px in 4K) smaller than the ``smallest`` the network finds, a second, finer one
    follows. The area counts and not the longer side, so a panorama is not shrunk to a ribbon.
    """
    side = math.sqrt(size_hw[0] * size_hw[1])
    coarse = min(1.0, math.sqrt(pixels) / side)
    fine = min(1.0, smallest / max(_SMALLEST_PX, side / _SMALLEST_PART))
    return [coarse, fine] if fine > coarse * _WORTHWHILE else [coarse]


def _near(face: Face, found: Found) -> Found:
    """Those detections that may be the face."""
    centres = found.boxes_xyxy.reshape(-1, 2, 2).mean(axis=1)
    sizes = (found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]).max(axis=1, initial=0)
    away = np.hypot(*(centres - np.array(face.centre, np.float32)).T)
    alike = np.maximum(sizes, face.size) < _SIZE_RATIO * np.minimum(sizes, face.size)
    return found[alike & (away < _NEAR * face.size)]


def nearest_faces(expected: Sequence[Face], faces: Sequence[Face]) -> list[Face | None]:
    """For each expected face one of the faces near it and about its size, or None; each is given once, and the nearest
    pairs come first."""
    pairs = []
    for number, face in enumerate(expected):
        for place, other in enumerate(faces):
            sizes = face.size, other.size
            away = math.dist(face.centre, other.centre) / (sum(sizes) / 2)
            if away < _NEAR and max(sizes) < _SIZE_RATIO * min(sizes):
                pairs.append((away, number, place))
    given: dict[int, int] = {}
    for _, number, place in sorted(pairs):
        if number not in given and place not in given.values():
            given[number] = place
    return [faces[given[number]] if number in given else None for number in range(len(expected))]


def _face(found: Found, number: int, size_hw: tuple[int, int]) -> Face | None:
    """One detection as a value; None where it is no face that could be aligned."""
    left, top, right, bottom = (float(v) for v in found.boxes_xyxy[number])
    left, right = max(left, -0.5), min(right, size_hw[1] - 0.5)
    top, bottom = max(top, -0.5), min(bottom, size_hw[0] - 0.5)
    if not (right - left >= 1 and bottom - top >= 1):
        return None
    try:
        crop_affine(found.landmarks[number], 512)
    except ValueError:
        return None
    return Face((left, top, right - left, bottom - top), found.landmarks[number], float(found.scores[number]))


def _proposal(face: Face) -> Found:
    """A face as a detection."""
    x, y, width, height = face.box
    box = np.array([[x, y, x + width, y + height]], np.float32)
    return Found(box, face.landmarks[None].astype(np.float32), np.array([face.score], np.float32))


def load_detector(
    name: str = "compact",
    *,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    threshold: float | None = None,
) -> FaceDetector:
    """A face detector by name; official weights are fetched at the first use.

    Args:
        name: ``compact`` (embedded), ``retinaface-r50``, ``retinaface-mobile`` or ``yunet``.
        device, engine, precision: as for restorers; YuNet always runs in OpenCV on the CPU. What sets coordinates runs
            in fp32 always, as they would jitter; the stage of ``compact`` that only proposes faces in ``bf16`` where
            the CPU has it, unless ``fp32`` is asked for. ``int8`` is for restorers.
        threshold: score from which a face counts; the detector's own if None.

    Raises:
        ConfigError: the name or a setting is unknown.
        ModelError: the weights are damaged, or not here and cannot be fetched.
        DeviceError: the device is not on this machine.
    """
    if name not in DETECTORS:
        raise ConfigError(f"unknown detector '{name}'{nearest(name, DETECTORS)}; choose one of {', '.join(DETECTORS)}")
    if threshold is not None and not 0 < threshold < 1:
        raise ConfigError(f"a detection threshold lies between 0 and 1, got {threshold}")
    settled = engines.resolve(device, engine, precision)
    entry = models.find(_MODELS.get(name, name))
    if not entry.embedded and not models.is_present(entry):
        if entry.arch != "yunet":
            nets.architecture(entry.arch)  # it could not run without torch: that is said before a download
        models.pull(entry)
    file = models.verify(entry)
    asked = "auto" if precision == "int8" else precision
    proposing = engines.resolve(device, engine, asked, bf16_agrees=settled.engine == "openvino").precision
    finder = _finder(file.path, entry.arch, file.sha256, settled, proposing)
    return FaceDetector(name, finder, file.sha256, threshold)


def _finder(path: Path, arch: str, weight_hash: str, settled: engines.Choice, proposing: str) -> Finder:
    """The finder for weights of an architecture. proposing: precision of what only proposes faces."""
    device, engine = settled.device, settled.engine
    if arch == "yunet":
        return YuNetFinder(path)
    if arch == "compact-detector":
        return CompactFinder.load(path, weight_hash, device=device, engine=engine, precision=proposing)
    return RetinaFaceFinder.load(path, arch, weight_hash, device=device, engine=engine)
