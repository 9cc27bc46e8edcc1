"""Which damage an unknown GIF, video or photo has: noisy, blurry, low_res, compressed, or none (clean).

Up to four frames spread over the file are measured (:mod:`revisage.datasets.signs`), in the faces where there are any
that are large enough, else whole. A small network over the measures (one hidden layer; fitted by
``benchmarks/classify.py`` on photos that were damaged on purpose) gives the scores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from revisage.core import Face, InputError, Region
from revisage.datasets.signs import SMALLEST, Signs, measure_signs

if TYPE_CHECKING:
    from revisage.media import Frame

__all__ = ["CATEGORIES", "Classification", "FileSigns", "classify", "measure_file"]

CATEGORIES = ("noisy", "blurry", "low_res", "compressed", "clean")

_FRAMES = 4
_MARGIN = 0.15
_SMALLEST_FACE = 64
_LARGEST_REGION = 640
"""A part of a frame longer than this (px) is measured in its middle: damage is alike everywhere."""

Image = NDArray[np.uint8]
Detect = Callable[[Image], list[Face]]


@dataclass(frozen=True)
class FileSigns:
    """What was measured in a file.

    Attributes:
        signs: one entry per face, or per frame where no face is large enough.
        measured: ``faces`` or ``frame``.
        frames: how many frames were looked at.
    """

    signs: tuple[Signs, ...]
    measured: str
    frames: int

    def vector(self) -> NDArray[np.float64]:
        """The median of each sign: one odd frame decides nothing."""
        median: NDArray[np.float64] = np.median([signs.vector() for signs in self.signs], axis=0)
        return median


@dataclass(frozen=True)
class Classification:
    """The category of a file, and why.

    Attributes:
        file: its path.
        category: the one of :data:`CATEGORIES` with the highest score.
        scores: for each category 0 to 1; together 1.
        noise, blur, resolution, blockiness: medians of :class:`~revisage.datasets.signs.Signs`; where the picture has a
            palette, whose dither is no noise, the noise is not above that of the picture at half size, and the
            resolution is None: dither fills the spectrum.
        measured: ``faces`` or ``frame``; ``samples`` of them, in ``frames`` frames.
    """

    file: str
    category: str
    scores: dict[str, float]
    noise: float
    blur: float
    resolution: float | None
    blockiness: float
    measured: str
    samples: int
    frames: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def classify(path: Path, *, detect: Detect | None = None) -> Classification:
    """Tell the damage of one file.

    Args:
        path: a video, an animated image or a photo.
        detect: finds the faces of an ``(H, W, 3) uint8 RGB`` frame; the compact detector if None.

    Raises:
        InputError: it cannot be read, or is smaller than 48 px.
    """
    found = measure_file(path, detect=detect)
    scores = _scores(found.vector())
    noise = [min(signs.noise, signs.coarse_noise) if signs.colours else signs.noise for signs in found.signs]
    filled = [signs.resolution for signs in found.signs if not signs.colours]

    def median(values: Sequence[float]) -> float:
        return round(float(np.median(values)), 3)

    return Classification(
        file=str(path),
        category=CATEGORIES[int(np.argmax(scores))],
        scores={name: round(float(score), 4) for name, score in zip(CATEGORIES, scores, strict=True)},
        noise=median(noise),
        blur=median([signs.blur for signs in found.signs]),
        resolution=median(filled) if filled else None,
        blockiness=median([signs.blockiness for signs in found.signs]),
        measured=found.measured,
        samples=len(found.signs),
        frames=found.frames,
    )


def measure_file(path: Path, *, detect: Detect | None = None) -> FileSigns:
    """Measure up to four frames of a file; arguments and errors as for :func:`classify`."""
    find = detect or _compact_detector()
    images = [frame.rgb() for frame in _spread_frames(path)]
    if not images:
        raise InputError(f"{path}: no frame could be read in it")
    if min(images[0].shape[:2]) < SMALLEST:
        height, width = images[0].shape[:2]
        raise InputError(f"{path} is {width} x {height} px; nothing can be measured below {SMALLEST} px a side")
    faces = [crop for image in images for crop in _face_crops(image, find(image))]
    crops = faces or [_middle(image) for image in images]
    signs = tuple(measure_signs(np.ascontiguousarray(crop)) for crop in crops)
    return FileSigns(signs, "faces" if faces else "frame", len(images))


def _spread_frames(path: Path) -> list[Frame]:
    """Up to four frames at even distances, the first one left out where there are enough: encoders start coarsely."""
    from revisage.media import open_source

    with open_source(path) as source:
        count = source.info.frame_count
        if count is None:
            count = sum(1 for _ in source.frames())
        wanted = {(2 * number + 1) * count // (2 * _FRAMES) for number in range(_FRAMES)}
        frames = [frame for frame in source.frames() if frame.index in wanted]
        return frames or list(source.frames(0, 1))


def _face_crops(image: Image, faces: Sequence[Face]) -> list[Image]:
    """The faces that are large enough to measure, with a little around them."""
    crops = []
    for face in faces:
        if min(face.box[2], face.box[3]) < _SMALLEST_FACE:
            continue
        x, y, width, height = face.box
        left, top = max(0, int(x - _MARGIN * width)), max(0, int(y - _MARGIN * height))
        right = min(image.shape[1], int(x + (1 + _MARGIN) * width))
        bottom = min(image.shape[0], int(y + (1 + _MARGIN) * height))
        if min(right - left, bottom - top) >= SMALLEST:
            crops.append(_middle(image[Region(left, top, right, bottom).slices]))
    return crops


def _middle(image: Image) -> Image:
    height, width = image.shape[:2]
    top, left = max(0, height - _LARGEST_REGION) // 2, max(0, width - _LARGEST_REGION) // 2
    return image[top : top + _LARGEST_REGION, left : left + _LARGEST_REGION]


@lru_cache(maxsize=1)
def _compact_detector() -> Detect:
    from revisage.faces import load_detector

    return load_detector("compact", device="auto", engine="auto", precision="auto")


def _scores(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax of the network's outputs, in the order of :data:`CATEGORIES`."""
    net = _network()
    hidden = np.tanh((vector - net["mean"]) / net["scale"] @ net["hidden"] + net["hidden_bias"])
    outputs = hidden @ net["output"] + net["output_bias"]
    powers = np.exp(outputs - outputs.max())
    scores: NDArray[np.float64] = powers / powers.sum()
    return scores


@lru_cache(maxsize=1)
def _network() -> dict[str, NDArray[np.float64]]:
    text = (resources.files("revisage.datasets") / "data" / "classify.json").read_text(encoding="utf-8")
    return {name: np.array(values) for name, values in json.loads(text).items()}
