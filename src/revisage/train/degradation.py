"""Damage that a restorer learns to undo: the presets, and how one image or one clip goes through them.

Each preset is a typed record of ranges; what is drawn from it follows from a seed and an index alone, on any machine
and in any worker process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from revisage.core import ConfigError, nearest
from revisage.train.blur import gaussian_kernel, motion_kernel
from revisage.train.degradation_base import REFERENCE_SIZE, Degradation, Drawn, Image, stage
from revisage.train.degradation_film import ArchiveDegradation
from revisage.train.degradation_gif import GifDegradation
from revisage.train.degradation_paper import DegradationConfig
from revisage.train.degradation_video import VideoDegradation
from revisage.train.degradation_webcam import WebcamDegradation

__all__ = [
    "MIXED",
    "PRESETS",
    "ArchiveDegradation",
    "Degradation",
    "DegradationConfig",
    "GifDegradation",
    "VideoDegradation",
    "WebcamDegradation",
    "degrade",
    "degrade_clip",
    "degrade_frames",
    "find_preset",
    "gaussian_kernel",
    "generator",
    "motion_kernel",
]


def _colours_kept(**ranges: Any) -> DegradationConfig:
    """A restorer of videos must not recolour faces, frame by frame."""
    return DegradationConfig(
        colour_shift_probability=0.0, colour_jitter_probability=0.0, grey_probability=0.02, **ranges
    )


PRESETS: dict[str, Degradation] = {
    "paper": DegradationConfig(),
    "mild": _colours_kept(
        blur_sigma=(0.1, 2.0),
        downsample=(1.0, 3.0),
        shrink=("linear", "area"),
        enlarge=("linear", "cubic"),
        noise_sigma=(0.0, 6.0),
        jpeg_quality=(80.0, 100.0),
    ),
    # The paper's ranges, colours kept.
    "neutral": _colours_kept(shrink=("linear", "area", "cubic"), enlarge=("linear", "cubic")),
    # Small faces of compressed videos: block noise and chroma subsampling more than blur, some motion.
    "compressed": _colours_kept(
        blur_sigma=(0.1, 5.0),
        motion_probability=0.3,
        downsample=(1.0, 7.0),
        shrink=("linear", "area", "cubic"),
        enlarge=("linear", "cubic"),
        noise_sigma=(0.0, 8.0),
        jpeg_quality=(15.0, 75.0),
    ),
    # Photos and videos as they go round: a reduction with the blur that belongs to it, noise and medium JPEG.
    "shared": _colours_kept(
        blur_sigma=(0.5, 4.5),
        round_probability=0.8,
        downsample=(1.5, 9.0),
        shrink=("linear", "area", "cubic"),
        enlarge=("linear", "cubic"),
        noise_sigma=(1.0, 14.0),
        jpeg_quality=(55.0, 95.0),
    ),
    # Good photos made small: the blur belongs to the reduction, and the face is seen larger than it was recorded. The
    # family that the fixed levels of `revisage.train.validation` are of.
    "reduced": _colours_kept(
        blur_sigma=(0.4, 0.62),
        blur_follows=True,
        round_probability=0.8,
        downsample=(1.6, 9.2),
        downsample_octaves=True,
        shrink=("linear", "area"),
        enlarge=("cubic",),
        enlarge_fully=True,
        noise_sigma=(2.0, 14.0),
        jpeg_quality=(58.0, 92.0),
    ),
    "clean": _colours_kept(
        blur_sigma=(0.0, 0.3),
        downsample=(1.0, 1.5),
        shrink=("area",),
        enlarge=("cubic",),
        noise_sigma=(0.0, 1.0),
        jpeg_quality=(92.0, 100.0),
        jpeg_probability=0.5,
    ),
    # Tapes, broadcasts and low-rate video: real codecs, combs, chroma bleed, ringing, shaken cameras.
    "video": VideoDegradation(),
    # Animated images: few colours, dither, few pixels.
    "gif": GifDegradation(),
    # Old prints and films: faded, scratched, dusty, grainy, unevenly lit.
    "archive": ArchiveDegradation(),
    # Cheap cameras in poor light: gain noise through a colour mosaic, block noise, a slight cast, motion.
    "webcam": WebcamDegradation(),
}

#: What the embedded model was trained on last: (preset, share).
MIXED: tuple[tuple[str, float], ...] = (
    ("reduced", 0.45),
    ("shared", 0.2),
    ("compressed", 0.13),
    ("neutral", 0.12),
    ("mild", 0.05),
    ("clean", 0.05),
)


def find_preset(name: str) -> Degradation:
    """The preset of that name. Raises ConfigError, which names the nearest one and lists all."""
    if name not in PRESETS:
        choices = ", ".join(sorted(PRESETS))
        raise ConfigError(f"no degradation preset '{name}'{nearest(name, PRESETS)}; choose from {choices}")
    return PRESETS[name]


def generator(seed: int, index: int) -> np.random.Generator:
    """The random source of one sample: the same for the same (seed, index), on any machine and in any worker."""
    return np.random.default_rng((seed, index))


def degrade(image: Image, config: Degradation, random: np.random.Generator) -> tuple[Image, Image]:
    """Degrade one aligned face.

    `image` is (H, W, 3) uint8 RGB, square in practice, and is left as it is. Returns (input, target), both of its
    shape and type; the target differs from `image` only in tone, where the pair became grey or sepia.
    """
    size_hw = image.shape[0], image.shape[1]
    drawn = config.draw(size_hw, size_hw[0] / REFERENCE_SIZE, random)
    return config.still(image, drawn, random), config.target(image, drawn)


def degrade_frames(
    frames: Iterable[Image], config: Degradation, random: np.random.Generator, *, unit: float | None = None
) -> tuple[Drawn, Iterator[Image]]:
    """Degrade a clip of any length as it passes: memory holds a few frames.

    Kernel, reduction, noise level and codec are drawn once; noise and grain are new in each frame, scratches and hairs
    last for some frames, and a codec codes the sequence as one.

    Args:
        frames: (H, W, 3) uint8 RGB of one size; at least one.
        config: what to draw from.
        random: drawn from.
        unit: px of the frames in one px of a 512 px face; by default the frames are taken for aligned faces.

    Returns:
        What was drawn, and the damaged frames, as many as there are and of the same size.

    Raises ValueError when there is no frame.
    """
    source = iter(frames)
    first = next(source, None)
    if first is None:
        raise ValueError("a clip must have at least one frame")
    size_hw = first.shape[0], first.shape[1]
    drawn = config.draw(size_hw, size_hw[0] / REFERENCE_SIZE if unit is None else unit, random)
    return drawn, config.damage(chain([first], source), drawn, stage(random))


def degrade_clip(frames: Sequence[Image], preset: str | Degradation, seed: int) -> list[Image]:
    """Degrade a sequence of aligned faces as one clip, (H, W, 3) uint8 RGB each; the same for the same seed.

    Raises ConfigError for an unknown preset, ValueError when there is no frame.
    """
    config = find_preset(preset) if isinstance(preset, str) else preset
    return list(degrade_frames(frames, config, generator(seed, 0))[1])
