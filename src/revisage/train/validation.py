"""The fixed check of a restorer: levels of degradation, and how near the restored faces come to the sources."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from revisage.core import OutputError
from revisage.measures import feature_distance
from revisage.nets import VGG19Features
from revisage.train.degradation import DegradationConfig, degrade, generator
from revisage.train.identity import Recogniser
from revisage.train.losses import ssim
from revisage.train.perceptual import load_vgg

__all__ = [
    "FACE_SIZE",
    "LEVELS",
    "Checks",
    "ImageMeasure",
    "Measures",
    "better",
    "check",
    "degraded_pairs",
    "load_vgg",
    "make_checks",
    "mean_measures",
    "measure",
    "reduce",
    "restore",
    "spread",
    "to_images",
    "to_tensor",
    "write_grid",
]

Image = NDArray[np.uint8]
Measures = dict[str, float]
Checks = dict[str, list[tuple[Image, Image]]]
#: A measure from elsewhere (NIQE, LPIPS): of (H, W, 3) uint8 RGB images and their targets, the mean over all of them.
ImageMeasure = Callable[[list[Image], list[Image]], float]
FACE_SIZE = 512
_LARGER_IS_BETTER = {"psnr", "ssim", "identity", "psnr_gain", "ssim_gain", "identity_gain"}


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


#: Degradation levels of 512-pixel faces; `paper` draws from the published ranges, colours kept.
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
    """(input, target) of each face: degraded at its own size, both then reduced to `size`."""
    for index, image in enumerate(images):
        degraded, target = degrade(image, LEVELS[level], generator(seed, index))
        yield reduce(degraded, size), reduce(target, size)


def to_tensor(images: list[Image] | Image) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(np.asarray(images)))
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def measure(
    images: list[Image], targets: list[Image], vgg: VGG19Features | None, recogniser: Recogniser | None = None
) -> list[Measures]:
    """PSNR (dB), SSIM, VGGD and the cosine `identity` of each uint8 RGB image against its target.

    The latter two only where their networks are given.
    """
    results = []
    for image, target in zip(images, targets, strict=True):
        pair = to_tensor([image, target]) / 2 + 0.5
        error = (pair[0] - pair[1]).square().mean().clamp_min(1e-10)
        values = {"psnr": float(-10 * torch.log10(error)), "ssim": float(ssim(pair[:1], pair[1:]))}
        if vgg is not None:
            features = vgg(pair.to(_device_of(vgg)))
            values["vggd"] = float(feature_distance([f[:1] for f in features], [f[1:] for f in features]))
        if recogniser is not None:
            faces = (pair * 2 - 1).to(_device_of(recogniser))
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


def to_images(output: Tensor) -> list[Image]:
    """(N, 3, H, W) RGB [-1, 1] to uint8 images (H, W, 3), rounded."""
    pixels = ((output.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def spread(images: NDArray[np.uint8], count: int) -> list[Image]:
    """At most `count` images, evenly spread over all."""
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    return [images[index] for index in chosen]


def make_checks(images: list[Image], size: int, *, seed: int) -> Checks:
    """What a run looks at as it goes: (input, target) of each face, by level; `clean` is a face as it is."""
    clean = [reduce(image, size) for image in images]
    levels = {level: list(degraded_pairs(images, level, size, seed=seed)) for level in ("medium", "paper")}
    return {**levels, "clean": list(zip(clean, clean, strict=True))}


def check(
    checks: Checks,
    net: Callable[[Tensor], Tensor],
    vgg: VGG19Features | None,
    *,
    recogniser: Recogniser | None = None,
    more: Mapping[str, ImageMeasure] | None = None,
) -> tuple[dict[str, Measures], Image]:
    """Measures by level, against the input's, and a picture: rows of inputs, restored faces and sources.

    more: further measures by name; one that has no value for images of this size (ValueError) is left out.
    """
    results: dict[str, Measures] = {}
    rows: list[Image] = []
    for level, pairs in checks.items():
        inputs, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        restored = restore(inputs, net)
        after = mean_measures(measure(restored, targets, vgg, recogniser))
        after.update(_further(more or {}, restored, targets))
        results[level] = {name: round(value, 4) for name, value in after.items()}
        if level == "clean":
            continue
        before = mean_measures(measure(inputs, targets, vgg, recogniser))
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


def better(name: str, value: float, best: float | None) -> bool:
    """Whether a measure is better than the best so far. NIQE, VGGD and LPIPS are distances: smaller is better."""
    if best is None:
        return True
    return value > best if name in _LARGER_IS_BETTER else value < best


def write_grid(path: Path, picture: Image) -> None:
    """Write a uint8 RGB picture as PNG. Raises OutputError."""
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
