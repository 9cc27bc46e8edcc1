from .catalogue import ALEXNET, IDENTITY, LPIPS_HEADS, MEASURES, VGG
from .face_fidelity import Embedder, cosine, crop_landmarks, identity_step, kept_components, landmark_distance
from .full_reference import Lpips, Vggd, feature_distance, gmsd, psnr, ssim
from .instruments import Instruments, Measure, MeasureRegistry, WeightsWanted, find_weights
from .no_reference import CLEAN_SHARPNESS, face_sharpness, niqe, sharpness
from .stability import FrameStep, ReferenceMotion, flicker, motion_between, t_mse, warping_error

__all__ = [
    "ALEXNET",
    "CLEAN_SHARPNESS",
    "IDENTITY",
    "LPIPS_HEADS",
    "MEASURES",
    "VGG",
    "Embedder",
    "FrameStep",
    "Instruments",
    "Lpips",
    "Measure",
    "MeasureRegistry",
    "ReferenceMotion",
    "Vggd",
    "WeightsWanted",
    "cosine",
    "crop_landmarks",
    "face_sharpness",
    "feature_distance",
    "find_weights",
    "flicker",
    "gmsd",
    "identity_step",
    "kept_components",
    "landmark_distance",
    "motion_between",
    "niqe",
    "psnr",
    "sharpness",
    "ssim",
    "t_mse",
    "warping_error",
]
