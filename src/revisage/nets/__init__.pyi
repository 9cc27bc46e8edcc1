from .arch_records import Architecture, Role, architecture, architectures, build, build_empty, infer_arch, names
from .compact import CompactConfig, CompactGFPGAN
from .compact_decoding import (
    CROP,
    ENLARGED,
    OUTPUTS,
    STRIDES,
    cell_centres,
    crop_affines,
    decode_crops,
    decode_maps,
    rolls,
    unmirrored,
)
from .compact_detector import REFINER_WIDTHS, CompactDetector, CompactDetectorConfig, CompactRefiner
from .compact_fine import FINE_STRIDE, CompactFine, CompactFineConfig, FineChange
from .compact_reader import READER_SIZE, CompactReader
from .face_embedding import MobileFaceNet
from .gfpgan import SLOPE, Blur, EqualConv, EqualLinear, GFPGANClean, ScaledActivation, StyleDecoder, channels_by_size
from .perceptual_features import AlexNetFeatures, LPIPSHeads, VGG19Deep, VGG19Features, lpips

__all__ = [
    "CROP",
    "ENLARGED",
    "FINE_STRIDE",
    "OUTPUTS",
    "READER_SIZE",
    "REFINER_WIDTHS",
    "SLOPE",
    "STRIDES",
    "AlexNetFeatures",
    "Architecture",
    "Blur",
    "CompactConfig",
    "CompactDetector",
    "CompactDetectorConfig",
    "CompactFine",
    "CompactFineConfig",
    "CompactGFPGAN",
    "CompactReader",
    "CompactRefiner",
    "EqualConv",
    "EqualLinear",
    "FineChange",
    "GFPGANClean",
    "LPIPSHeads",
    "MobileFaceNet",
    "Role",
    "ScaledActivation",
    "StyleDecoder",
    "VGG19Deep",
    "VGG19Features",
    "architecture",
    "architectures",
    "build",
    "build_empty",
    "cell_centres",
    "channels_by_size",
    "crop_affines",
    "decode_crops",
    "decode_maps",
    "infer_arch",
    "lpips",
    "names",
    "rolls",
    "unmirrored",
]
