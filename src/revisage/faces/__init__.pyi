from .alignment import (
    ARCFACE_112,
    AlignedFace,
    align,
    crop_affine,
    crop_scale,
    ffhq_template,
    invert,
    similarity,
    transform,
    warp_antialiased,
)
from .blend import landmark_mask, matched_difference
from .composite import composite
from .detect import FaceDetector, load_detector
from .detectors import Found, suppressed
from .detectors.closer import CloserLook, upright_crop
from .pose import frontality
from .shots import ShotDetector
from .track import Tracker

__all__ = [
    "ARCFACE_112",
    "AlignedFace",
    "CloserLook",
    "FaceDetector",
    "Found",
    "ShotDetector",
    "Tracker",
    "align",
    "composite",
    "crop_affine",
    "crop_scale",
    "ffhq_template",
    "frontality",
    "invert",
    "landmark_mask",
    "load_detector",
    "matched_difference",
    "similarity",
    "suppressed",
    "transform",
    "upright_crop",
    "warp_antialiased",
]
