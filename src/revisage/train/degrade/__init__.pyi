from .degradation import (
    REFERENCE_SIZE,
    Degradation,
    Drawn,
    convolved,
    from_planes,
    gaussian_kernel,
    jpeg_recoded,
    motion_kernel,
    noisy,
    recoded,
    to_planes,
    white_noise,
)
from .film import ArchiveDegradation
from .gif import GifDegradation
from .large import LargeDegradation
from .presets import (
    MIXED,
    PRESETS,
    DegradationConfig,
    degrade,
    degrade_clip,
    degrade_frames,
    find_preset,
    generator,
)
from .recordings import VideoDegradation, WebcamDegradation

__all__ = [
    "MIXED",
    "PRESETS",
    "REFERENCE_SIZE",
    "ArchiveDegradation",
    "Degradation",
    "DegradationConfig",
    "Drawn",
    "GifDegradation",
    "LargeDegradation",
    "VideoDegradation",
    "WebcamDegradation",
    "convolved",
    "degrade",
    "degrade_clip",
    "degrade_frames",
    "find_preset",
    "from_planes",
    "gaussian_kernel",
    "generator",
    "jpeg_recoded",
    "motion_kernel",
    "noisy",
    "recoded",
    "to_planes",
    "white_noise",
]
