from .build import ARCHITECTURES, build, infer_arch
from .compact import CompactConfig, CompactGFPGAN
from .compact_detector import STRIDES, CompactDetector, CompactDetectorConfig, cell_centres, decode_maps
from .compact_refiner import (
    CROP,
    ENLARGED,
    OUTPUTS,
    REFINER_WIDTHS,
    CompactRefiner,
    crop_affines,
    decode_crops,
    rolls,
    unmirrored,
)
from .gfpgan_clean import GFPGANClean
from .lpips import AlexNetFeatures, LPIPSHeads, lpips
from .rrdbnet import RRDBNet
from .srvgg import SRVGG
from .stylegan2 import SLOPE, StyleDecoder, channels_by_size
from .stylegan2_original import Blur, EqualConv, EqualLinear, ScaledActivation
from .vgg import VGG19Deep, VGG19Features

__all__ = [
    "ARCHITECTURES",
    "CROP",
    "ENLARGED",
    "OUTPUTS",
    "REFINER_WIDTHS",
    "SLOPE",
    "SRVGG",
    "STRIDES",
    "AlexNetFeatures",
    "Blur",
    "CompactConfig",
    "CompactDetector",
    "CompactDetectorConfig",
    "CompactGFPGAN",
    "CompactRefiner",
    "EqualConv",
    "EqualLinear",
    "GFPGANClean",
    "LPIPSHeads",
    "RRDBNet",
    "ScaledActivation",
    "StyleDecoder",
    "VGG19Deep",
    "VGG19Features",
    "build",
    "cell_centres",
    "channels_by_size",
    "crop_affines",
    "decode_crops",
    "decode_maps",
    "infer_arch",
    "lpips",
    "rolls",
    "unmirrored",
]
