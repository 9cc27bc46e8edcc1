"""Pairs of damaged and clean faces: an endless stream to learn from, and the fixed check at levels of damage."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from revisage.core import Image
from revisage.measures import MEASURES, Instruments, feature_distance, niqe, psnr, ssim
from revisage.nets import VGG19Features
from revisage.train.degrade import REFERENCE_SIZE, Degradation, DegradationConfig, degrade, generator
from revisage.train.images import ImageCache, to_images, to_tensor
from revisage.train.restorer.losses import Critics, Recogniser

__all__ = [
    "LEVELS",
    "Checks",
    "DegradedFaces",
    "ImageMeasure",
    "Measures",
    "check_restorer",
    "degraded_pairs",
    "further_measures",
    "larger_is_better",
    "make_checks",
    "mean_measures",
    "measure",
    "reduce",
    "restore",
    "spread",
]

Measures = dict[str, float]
Checks = dict[str, list[tuple[Image, Image]]]
ImageMeasure = Callable[[list[Image], list[Image]], float]
"""A measure from elsewhere (NIQE, LPIPS): of (H, W, 3) uint8 RGB images and their targets, the mean over all."""

FACE_SIZE = 512
_SURROUNDINGS = 16
"""Windows are damaged with this much around them, px, of which a random part is cut off again on each side: the edge of
what was damaged is not seen."""

_IN_PHASE = 0.8
"""Share of windows that begin where a block of a codec does, as faces in pictures at their own size do; in the others
blocks have any phase, as in what was cut after it was coded."""

_EQUAL_DB = 100.0
"""PSNR that equal pictures are told with, for logs hold numbers only."""


def _level(factor: float, noise: float, quality: float) -> DegradationConfig:
    """A blur that suits the reduction, then noise and JPEG; nothing drawn but the noise itself."""
    return DegradationConfig(
        blur_sigma=(0.5 * factor, 0.5 * factor),
        round_probability=1.0,
        downsample=(factor, factor),
        enlarge=("cubic",),
        noise_sigma=(noise, noise),
        jpeg_quality=(quality, quality),
        colour_shift_probability=0.0,
        colour_jitter_probability=0.0,
        grey_probability=0.0,
    )


LEVELS: dict[str, DegradationConfig] = {
    "mild": _level(2, 4, 85),
    "medium": _level(4, 8, 75),
    "heavy": _level(8, 12, 65),
    "paper": DegradationConfig().model_copy(
        update={"colour_shift_probability": 0.0, "colour_jitter_probability": 0.0, "grey_probability": 0.0}
    ),
}


def reduce(image: Image, size: int) -> Image:
    """(H, W, 3) uint8 to (size, size, 3), averaged by area."""
    if image.shape[0] == size:
        return image
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def degraded_pairs(images: list[Image], level: str, size: int, *, seed: int) -> Iterator[tuple[Image, Image]]:
    """(input, target) of each face: degraded at its own size, both then reduced to ``size``."""
    for index, image in enumerate(images):
        degraded, target = degrade(image, LEVELS[level], generator(seed, index))
        yield reduce(degraded, size), reduce(target, size)


@torch.no_grad()
def measure(
    images: list[Image], targets: list[Image], vgg: VGG19Features | None, recogniser: Recogniser | None = None
) -> list[Measures]:
    """PSNR (dB), SSIM, VGGD and the cosine ``identity`` of each uint8 RGB image against its target.

    The latter two only where their networks are given: those of the losses, on the device where they are.
    """
    results = []
    for image, target in zip(images, targets, strict=True):
        values = {"psnr": min(psnr(image, target), _EQUAL_DB), "ssim": ssim(image, target)}
        pair = to_tensor([image, target])
        if vgg is not None:
            features = vgg(pair.to(_device_of(vgg)) / 2 + 0.5)
            values["vggd"] = float(feature_distance([f[:1] for f in features], [f[1:] for f in features]))
        if recogniser is not None:
            faces = pair.to(_device_of(recogniser))
            values["identity"] = float(recogniser.similarity(faces[:1], faces[1:]))
        results.append(values)
    return results


def _device_of(net: nn.Module) -> torch.device:
    return next(net.parameters()).device


def mean_measures(measures: list[Measures]) -> Measures:
    """The mean of each measure over the images."""
    return {name: float(np.mean([values[name] for values in measures])) for name in measures[0]}


def restore(images: list[Image], net: Callable[[Tensor], Tensor], *, batch: int = 8) -> list[Image]:
    """Run a net over uint8 RGB crops, in batches, where its weights are, and round its answer to uint8."""
    restored: list[Image] = []
    device = _device_of(net) if isinstance(net, nn.Module) else torch.device("cpu")
    with torch.no_grad():
        for start in range(0, len(images), batch):
            output = net(to_tensor(images[start : start + batch]).to(device))
            restored.extend(to_images(output))
    return restored


def spread(images: NDArray[np.uint8], count: int) -> list[Image]:
    """At most ``count`` images, evenly spread over all."""
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    return [images[index] for index in chosen]


def make_checks(images: list[Image], size: int, *, seed: int) -> Checks:
    """What a run looks at as it goes: (input, target) of each face, by level; ``clean`` is a face as it is."""
    clean = [reduce(image, size) for image in images]
    levels = {level: list(degraded_pairs(images, level, size, seed=seed)) for level in ("medium", "paper")}
    return {**levels, "clean": list(zip(clean, clean, strict=True))}


def check_restorer(
    checks: Checks,
    net: Callable[[Tensor], Tensor],
    critics: Critics,
    *,
    more: Mapping[str, ImageMeasure],
) -> tuple[dict[str, Measures], Image]:
    """Measures by level, against the input's, and a picture: rows of inputs, restored faces and sources.

    Args:
        checks: pairs by level.
        net: (N, 3, size, size) float32 [-1, 1] to the same.
        critics: the networks that measure.
        more: further measures by name; one that has no value for images of this size (ValueError) is left out.
    """
    results: dict[str, Measures] = {}
    rows: list[Image] = []
    for level, pairs in checks.items():
        inputs, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        restored = restore(inputs, net)
        after = mean_measures(measure(restored, targets, critics.vgg, critics.recogniser))
        after.update(_further(more, restored, targets))
        results[level] = {name: round(value, 4) for name, value in after.items()}
        if level == "clean":
            continue
        before = mean_measures(measure(inputs, targets, critics.vgg, critics.recogniser))
        results[level].update(_against(before, after))
        shown = range(0, len(inputs), max(1, len(inputs) // 6))
        rows += [np.hstack([pictures[i] for i in shown]) for pictures in (inputs, restored, targets)]
    return results, np.vstack(rows)


def _further(more: Mapping[str, ImageMeasure], restored: list[Image], targets: list[Image]) -> Measures:
    values: Measures = {}
    for name, of_images in more.items():
        with contextlib.suppress(ValueError):
            values[name] = of_images(restored, targets)
    return values


def _against(before: Measures, after: Measures) -> Measures:
    """What was gained on the input."""
    gains = {
        "psnr_gain": round(after["psnr"] - before["psnr"], 3),
        "ssim_gain": round(after["ssim"] - before["ssim"], 4),
    }
    if "vggd" in before:
        gains["vggd_ratio"] = round(after["vggd"] / max(before["vggd"], 1e-9), 4)
    if "identity" in before:
        gains["identity_gain"] = round(after["identity"] - before["identity"], 4)
    return gains


def further_measures() -> dict[str, ImageMeasure]:
    """NIQE, pooled over all images, and LPIPS where its networks are installed."""
    found: dict[str, ImageMeasure] = {"niqe": lambda images, _: niqe(images)}
    lpips = Instruments(MEASURES).get("lpips")
    if lpips is not None:
        found["lpips"] = lambda images, targets: fmean(map(lpips, images, targets))
    return found


def larger_is_better(name: str) -> bool:
    """Which way a measure of the check is better, or its gain on the input; ratios are of distances."""
    measure_name = "ids" if name.startswith("identity") else name.removesuffix("_gain")
    return measure_name in MEASURES and MEASURES[measure_name].better == "higher"


class DegradedFaces(Dataset[tuple[Tensor, Tensor]]):
    """An endless stream of (input, target) pairs; the sample at an index depends on (seed, index) alone.

    Each is a (3, size, size) uint8 RGB tensor: half of them mirrored, degraded by a configuration that is drawn from
    ``mixture``, and, with ``tone_probability``, of another exposure and gamma than the source (both alike).

    Args:
        cache: the faces.
        mixture: kinds of damage and their shares.
        seed: of everything that is drawn.
        tone_probability: see above.
        window: side of a random window that is cut out of each face before it is damaged, px; None: the whole face.
        zoom: least and most that half of the windows are enlarged by (both pictures alike), each octave as likely.
    """

    def __init__(
        self,
        cache: ImageCache,
        mixture: Sequence[tuple[Degradation, float]],
        *,
        seed: int,
        tone_probability: float = 0.0,
        window: int | None = None,
        zoom: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        self.cache = cache
        self.seed = seed
        self.tone_probability = tone_probability
        self.window, self.zoom = window, zoom
        self.configs = [config for config, _ in mixture]
        self._mixture = np.cumsum([share for _, share in mixture]) / sum(share for _, share in mixture)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = generator(self.seed, index)
        image = self.cache.draw(random)
        if random.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
        if random.random() < self.tone_probability:
            image = _retone(image, random)
        config = self.configs[int(np.searchsorted(self._mixture, random.random(), side="right"))]
        if self.window is None:
            degraded, target = degrade(image, config, random)
            return _tensor(degraded), _tensor(target)
        view = _view(image, self.window + 2 * _SURROUNDINGS, self.zoom, random)
        degraded, target = degrade(view, config, random, unit=len(image) / REFERENCE_SIZE)
        step = _SURROUNDINGS if random.random() < _IN_PHASE else 1
        top, left = step * random.integers(2 * _SURROUNDINGS // step + 1, size=2)
        inside = (slice(top, top + self.window), slice(left, left + self.window))
        return _tensor(degraded[inside]), _tensor(target[inside])


def _view(image: Image, side: int, zoom: tuple[float, float], random: np.random.Generator) -> Image:
    """A random window of an image at another scale, (side, side, 3)."""
    least, most = np.log(zoom)
    scale = float(np.exp(random.uniform(least, most))) if random.random() < 0.5 else 1.0
    seen = min(round(side / scale), *image.shape[:2])
    top, left = (int(random.integers(length - seen + 1)) for length in image.shape[:2])
    window = image[top : top + seen, left : left + seen]
    if seen == side:
        return window
    interpolation = cv2.INTER_AREA if seen > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(window, (side, side), interpolation=interpolation), dtype=np.uint8)


def _retone(image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Another exposure, gamma and white balance: official portraits are lit evenly, videos are not."""
    levels = np.arange(256, dtype=np.float64)[:, None] / 255
    gain = random.uniform(0.55, 1.1) * random.uniform(0.9, 1.1, size=3)
    curve = np.clip(gain * levels ** random.uniform(0.7, 1.5), 0, 1)
    table = np.rint(curve * 255).astype(np.uint8)[None]
    return np.asarray(cv2.LUT(image, table), dtype=np.uint8)


def _tensor(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
