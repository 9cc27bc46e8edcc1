from .alignment import (
    ARCFACE_112,
    AlignedFace,
    FineChange,
    align,
    crop_affine,
    crop_scale,
    ffhq_template,
    invert,
    similarity,
    transform,
    warp_antialiased,
)
from .compositing import composite, fine_share, landmark_mask, matched_difference, share_in_frame, with_fine
from .detect import CloserLook, FaceDetector, Found, load_detector, suppressed, upright_crop
from .shots import ShotDetector
from .tracking import FaceFollower, FollowedFace, Tracker, frontality

__all__ = [
    "ARCFACE_112",
    "AlignedFace",
    "CloserLook",
    "FaceDetector",
    "FaceFollower",
    "FineChange",
    "FollowedFace",
    "Found",
    "ShotDetector",
    "Tracker",
    "align",
    "composite",
    "crop_affine",
    "crop_scale",
    "ffhq_template",
    "fine_share",
    "frontality",
    "invert",
    "landmark_mask",
    "load_detector",
    "matched_difference",
    "share_in_frame",
    "similarity",
    "suppressed",
    "transform",
    "upright_crop",
    "warp_antialiased",
    "with_fine",
]
