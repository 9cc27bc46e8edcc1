"""Signs of damage in a picture, without a reference, and which damage an unknown GIF, video or photo has.

Each sign is measured on luma at the picture's own pixels. Noise: the finest diagonal wavelet detail of the calmer
blocks, after Donoho and Johnstone (1994). Blur: the width of the sharpest edges from two gradients, after Zhuo and Sim
(2011). Resolution: where the power spectrum leaves the 1/f² of natural pictures (Field, 1987). Interpolation: the
period that resampling leaves in the second derivative, after Gallagher (2005). Blockiness: differences across the
lines of the 8 x 8 grid over those elsewhere, after Wang, Bovik and Evans (2000).

A file is noisy, blurry, low_res, compressed, or none of these (clean). Up to four frames spread over it are measured,
in the faces where there are any that are large enough, else whole. A small network over the measures (one hidden
layer; fitted by ``benchmarks/classify.py`` on photos that were damaged on purpose) gives the scores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Face, Image, InputError, Region
from revisage.faces import load_detector
from revisage.media import Frame, open_source

__all__ = [
    "CATEGORIES",
    "SMALLEST",
    "Classification",
    "FileSigns",
    "Signs",
    "classify",
    "edge_blur",
    "measure_file",
    "measure_signs",
]

Plane = NDArray[np.float32]

SMALLEST = 48
"""Shorter side (px) of the least picture that can be measured."""

_SEGMENT = 32
"""Px of a stretch of a row whose spectrum is taken: four blocks of JPEG."""

_BANDS = ((3, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14), (14, 17))
"""Of that spectrum, in its steps of 1/32 cycles per px, the lowest left out: they are what the picture shows."""

_CUT, _FALLEN = 0.02, 0.05
_ROUNDING = 0.1
"""Power of the rounding to whole levels, behind the window."""
_NEAR, _FAR = 1.0, 2.0
"""Sigmas (px) of the two gradients whose ratio tells how wide an edge is."""


@dataclass(frozen=True)
class Signs:
    """What was measured.

    Attributes:
        noise: standard deviation of the noise in the calmer half of the picture (levels of 255).
        coarse_noise: the same in the picture at half size, times two: equal to ``noise`` where it is white, and far
            below it where it is the dither of a palette.
        blur: standard deviation of the blur of the sharpest tenth of the edges (px).
        resolution: lowest frequency at which the spectrum falls away from that of natural pictures, as a part of what
            the pixels can hold (0 to 1); a reduction by 2 leaves about 0.6.
        interpolation: strength of the period that an enlargement leaves; 1 where there is none.
        blockiness: step across the lines of the 8 x 8 grid over the steps elsewhere; 1 where there is no grid.
        colours: 1 where the picture has at most 256 colours (a GIF's palette), else 0.
        texture: logarithms of further ratios that tell mixed cases apart; see :func:`measure_signs`.
    """

    noise: float
    coarse_noise: float
    blur: float
    resolution: float
    interpolation: float
    blockiness: float
    colours: float
    texture: tuple[float, ...]

    def vector(self) -> NDArray[np.float64]:
        """What the classifier sees, ``(21,)``: levels and ratios in logarithms."""
        logs = np.log([self.noise + 0.1, self.coarse_noise + 0.1, self.blur + 0.1, self.interpolation, self.blockiness])
        return np.array([*logs, self.colours, *self.texture])


def measure_signs(image: Image) -> Signs:
    """Measure one picture.

    Args:
        image: ``(H, W, 3) uint8 RGB``, each side at least :data:`SMALLEST` px.

    Returns:
        Signs whose ``texture`` holds: noise at a quarter of the size; the noise of all over that of the calmer blocks;
        noise beside edges over noise away from them; the blur of the median edge; the noise of the colours; the power
        in seven bands of frequency over that of the lowest; the share of flat cells of the 4 x 4 grid; the share of
        equal neighbours; the highest frequency with more than 2 % of natural power.

    Raises:
        ValueError: another shape or type, or a side is too short.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    if min(image.shape[:2]) < SMALLEST:
        raise ValueError(f"a picture of {SMALLEST} px a side is needed, got {image.shape[1]}x{image.shape[0]}")
    planes = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    luma = np.ascontiguousarray(planes[..., 0])
    fine, half, quarter = (_noise_blocks(_reduced(luma, factor)) * factor for factor in (1, 2, 4))
    chroma = _noise_blocks(np.ascontiguousarray(planes[..., 1]))
    calm = [float(np.quantile(blocks, 0.3)) for blocks in (fine, half, quarter, chroma)]
    sharpest, median, edges = edge_blur(luma)
    bands, resolution, filled = _spectrum(luma)
    period, grid = _periods(luma)
    texture = (
        np.log(calm[2] + 0.1),
        np.log((float(np.median(fine)) + 0.1) / (calm[0] + 0.1)),
        _noise_at_edges(fine, edges),
        np.log(median + 0.1),
        np.log(calm[3] + 0.1),
        *bands,
        _flat_cells(luma),
        float((np.diff(luma, axis=1) == 0).mean()),
        filled,
    )
    few = len(np.unique(image.reshape(-1, 3).astype(np.uint32) @ np.array([65536, 256, 1], np.uint32))) <= 256
    return Signs(calm[0], calm[1], sharpest, resolution, period, grid, float(few), tuple(float(v) for v in texture))


def _reduced(luma: Plane, factor: int) -> Plane:
    height, width = luma.shape[0] // factor * factor, luma.shape[1] // factor * factor
    cut = luma[:height, :width]
    return cut.reshape(height // factor, factor, width // factor, factor).mean(axis=(1, 3)) if factor > 1 else cut


def _noise_blocks(plane: Plane) -> NDArray[np.float64]:
    """Root mean square of the finest diagonal Haar detail in each block of 8 px, ``(rows, columns)``."""
    detail = (plane[1:, 1:] - plane[:-1, 1:] - plane[1:, :-1] + plane[:-1, :-1]) / 2
    rows, columns = max(1, detail.shape[0] // 8), max(1, detail.shape[1] // 8)
    cut = detail[: rows * 8, : columns * 8]
    blocks = cut.reshape(rows, cut.shape[0] // rows, columns, cut.shape[1] // columns)
    power: NDArray[np.float64] = np.sqrt(np.square(blocks.astype(np.float64)).mean(axis=(1, 3)))
    return power


def _gradient(luma: Plane, sigma: float) -> Plane:
    """Magnitude of the gradient behind a Gaussian."""
    smooth = cv2.GaussianBlur(luma, (0, 0), sigma)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(across, down), dtype=np.float32)


def edge_blur(luma: Plane) -> tuple[float, float, NDArray[np.bool_]]:
    """Blur (px) of the sharpest tenth of the edges of ``(H, W) float32`` luma, of the median one, and where edges are.

    An ideal edge under a blur s has the slope 1 / sqrt(s² + a²) behind a Gaussian a: two of them give s.
    """
    near, far = _gradient(luma, _NEAR), _gradient(luma, _FAR)
    edges = far >= max(float(np.quantile(far, 0.95)), 1.0)
    if not edges.any():
        return 0.0, 0.0, edges
    ratio = np.square(near[edges] / far[edges]).astype(np.float64)
    widths = (_FAR**2 - ratio * _NEAR**2) / np.maximum(ratio - 1, 0.02)
    blur = np.sqrt(np.clip(widths, 0, 100))
    return float(np.quantile(blur, 0.1)), float(np.median(blur)), edges


def _noise_at_edges(blocks: NDArray[np.float64], edges: NDArray[np.bool_]) -> float:
    """Logarithm of the noise of blocks with an edge over that of those without: high for ringing and mosquitoes."""
    size_wh = blocks.shape[1], blocks.shape[0]
    share = cv2.resize(edges.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
    beside, away = blocks[share > 0], blocks[share == 0]
    if not beside.size or not away.size:
        return 0.0
    return float(np.log((np.median(beside) + 0.1) / (np.median(away) + 0.1)))


def _spectrum(luma: Plane) -> tuple[list[float], float, float]:
    """Power in bands over the lowest band's (logarithms), the effective resolution, and the highest filled frequency;
    of the mean of both directions."""
    power = np.mean([_line_power(luma), _line_power(luma.T)], axis=0)
    lowest = power[2:4].mean() + 1e-3
    bands = [float(np.log((power[low:high].mean() + 1e-3) / lowest)) for low, high in _BANDS]
    squares = np.arange(len(power)) ** 2
    natural = np.maximum(power - _ROUNDING, 0) * squares
    below = np.flatnonzero(natural[2:] < _FALLEN * natural[2:5].mean())
    whitened = power * squares
    filled = np.flatnonzero(whitened[2:] > _CUT * (whitened[2:5].mean() + 1e-6))
    last = len(power) - 1
    resolution = float(below[0] + 2) / last if len(below) else 1.0
    return bands, resolution, float(filled[-1] + 2) / last if len(filled) else 0.0


def _line_power(luma: Plane) -> NDArray[np.float64]:
    """Mean power spectrum of overlapping stretches of the rows, ``(17,)``, with a Hann window."""
    starts = range(0, luma.shape[1] - _SEGMENT + 1, _SEGMENT // 2)
    window = np.hanning(_SEGMENT).astype(np.float32)
    stretches = np.stack([luma[:, start : start + _SEGMENT] for start in starts])
    stretches = (stretches - stretches.mean(axis=-1, keepdims=True)) * window
    power: NDArray[np.float64] = np.square(np.abs(np.fft.rfft(stretches, axis=-1))).mean(axis=(0, 1)) / _SEGMENT
    return power


def _periods(luma: Plane) -> tuple[float, float]:
    """Strength of the period of an enlargement, and of the 8 px grid."""
    both = [_line_periods(side) for side in (luma, np.ascontiguousarray(luma.T))]
    return max(period for period, _ in both), float(np.mean([grid for _, grid in both]))


def _line_periods(luma: Plane) -> tuple[float, float]:
    steps = np.abs(np.diff(luma, axis=1)).mean(axis=0).astype(np.float64) + 0.05
    phases = [steps[phase::8].mean() for phase in range(8)]
    best = int(np.argmax(phases))
    others = np.delete(np.array(phases), best)
    curve = np.log(np.abs(np.diff(luma, 2, axis=1)).mean(axis=0).astype(np.float64) + 0.05)
    curve -= cv2.blur(curve[None], (9, 1))[0]
    strength = np.abs(np.fft.rfft(curve * np.hanning(len(curve))))
    strength = strength[len(strength) // 8 :]
    return float((strength.max() + 1e-6) / (np.median(strength) + 1e-6)), float(phases[best] / others.mean())


def _flat_cells(luma: Plane) -> float:
    """Share of cells of 4 x 4 px without any texture."""
    rows, columns = luma.shape[0] // 4, luma.shape[1] // 4
    cells = luma[: rows * 4, : columns * 4].reshape(rows, 4, columns, 4)
    return float((cells.std(axis=(1, 3)) < 0.7).mean())


CATEGORIES = ("noisy", "blurry", "low_res", "compressed", "clean")

_FRAMES = 4
_MARGIN = 0.15
_SMALLEST_FACE = 64
_LARGEST_REGION = 640
"""A part of a frame longer than this (px) is measured in its middle: damage is alike everywhere."""

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
    """Measure up to four frames of a file; arguments as for :func:`classify`.

    Raises:
        InputError: no frame can be read in it, or its frames are too small.
    """
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
