"""Find faces with landmarks in images of any size."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from revisage import engines, models, nets
from revisage.core import DETECTORS, ConfigError, Face, Image, nearest
from revisage.faces.alignment import crop_affine
from revisage.faces.detect.candidates import Finder, Found, suppressed, without_parts
from revisage.faces.detect.compact_finder import CompactFinder, upright_crop
from revisage.faces.detect.official_finders import RetinaFaceFinder, YuNetFinder

__all__ = ["FaceDetector", "load_detector", "working_scales"]

_MODELS = {"compact": "compact-detector"}
_OVERLAP = 0.4
"""IoU from which two detections are one face, found at several scales."""

_SMALLEST_PART, _SMALLEST_PX = 96, 30
"""In a large picture faces are looked for down to this part of its side (the root of its area), or this many px."""
_REDUCED = 0.4
"""How far an image is reduced for faces larger than a network knows."""
_WORTHWHILE = 1.25
"""A second look pays from this much more detail on."""
_TURNED_SIDE, _SURER = 256, 0.05
"""A face is turned in a crop of this side (px), and stands otherwise where that raises the score by this much: by 0.17
and more on faces turned by 135° and 180°, on none of 49 faces of the test scenes."""
_LEAST_SIDE = 64
"""Below this side a network sees hardly more than its own border (px)."""


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

    def __call__(self, image: Image) -> list[Face]:
        """The faces of an image, the largest first.

        Args:
            image: ``(H, W, 3) uint8 RGB`` of any size.

        Raises:
            ValueError: the image is of another shape or type.
        """
        return [face for face in self.candidates(image) if face.score >= self.threshold]

    def is_turned(self, image: Image, face: Face) -> bool:
        """Whether a face that was found lies on its side or stands on its head, more than about 60° from upright.

        A network that knows upright faces finds some turned ones too, with landmarks as an upright face would have
        them: restored by those, eyes are painted on a chin. Shown the face turned back, it is surer of it.

        Args:
            image: in which it was found.
            face: as it was found.
        """
        crop = upright_crop(image, crop_affine(face.landmarks, _TURNED_SIDE), _TURNED_SIDE)
        upright, *turned = (self._best_score(np.ascontiguousarray(np.rot90(crop, quarter))) for quarter in range(4))
        return max(turned) > upright + _SURER

    def _best_score(self, image: Image) -> float:
        return max((face.score for face in self.candidates(image)), default=0.0)

    def candidates(self, image: Image) -> list[Face]:
        """Faces and what may be faces, the largest first: a tracker carries tracks on with them.

        The image is searched at a size that suits the network, again reduced when its faces may be larger than the
        network knows, and a large image once more in detail for small faces. Boxes are cut at the image's border;
        landmarks are not.

        Args:
            image: ``(H, W, 3) uint8 RGB`` of any size.

        Raises:
            ValueError: the image is of another shape or type.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"an image is (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        scales = working_scales(image.shape[:2], self._finder.pixels, self._finder.smallest)
        found = self._confirmed(image, scales) if self._finder.second_look else self._found(image, scales)
        faces = [face for number in range(len(found)) if (face := _face(found, number, image.shape[:2]))]
        return sorted(faces, key=lambda face: (-face.size, face.box))

    def _found(self, image: Image, scales: list[float]) -> Found:
        """What the network finds at all scales."""
        found = self._search_large(image, scales[0])
        for scale in scales:
            found = Found.joined([found, without_parts(self._search(image, scale), found)])
        return suppressed(found, _OVERLAP)

    def _confirmed(self, image: Image, scales: list[float]) -> Found:
        """What a closer look leaves of all that the network proposes. Only then do large faces displace small ones:
        a crowd as a whole may be proposed as one face."""
        assert self._finder.second_look is not None
        proposals = [self._search_large(image, scales[0]), *(self._search(image, scale) for scale in scales)]
        found = self._finder.second_look(image, Found.joined(proposals), self.low_threshold)
        return without_parts(found, found[found.scores >= self.threshold])

    def _search_large(self, image: Image, scale: float) -> Found:
        """Faces that are too large for the network at a scale, from a reduced image; in the image's own pixels."""
        largest = self._finder.largest
        if largest is None or min(image.shape[:2]) * scale < largest:
            return Found.none()
        return self._search(image, scale * _REDUCED).at_least(largest / scale)

    def _search(self, image: Image, scale: float) -> Found:
        """What the network finds in the image at a scale, in the image's own pixels."""
        height, width = image.shape[:2]
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = image if scale == 1 else _averaged(image, size)
        pad_x, pad_y = max(0, _LEAST_SIDE - size[0]), max(0, _LEAST_SIDE - size[1])
        if pad_x or pad_y:
            small = cv2.copyMakeBorder(small, 0, pad_y, 0, pad_x, cv2.BORDER_CONSTANT)
        lowest = self._finder.second_look.lowest if self._finder.second_look else self.low_threshold
        found = self._finder(np.ascontiguousarray(small), lowest)
        return found if scale == 1 else found.scaled((width / size[0], height / size[1]))


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


def _averaged(image: Image, size: tuple[int, int]) -> Image:
    """The image reduced to a size (width, height): by halves while it can be, in about half the time."""
    height, width = image.shape[:2]
    while width % 2 == 0 and height % 2 == 0 and width >= 2 * size[0] and height >= 2 * size[1]:
        height, width = height // 2, width // 2
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


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
