from .clean import GFPGANClean
from .original import GFPGANv1
from .stylegan2 import SLOPE, ModulatedConv, StyleDecoder, channels_by_size, upsample_bilinear
from .stylegan2_original import Blur, EqualConv, EqualLinear, OriginalStyleDecoder, ScaledActivation

__all__ = [
    "SLOPE",
    "Blur",
    "EqualConv",
    "EqualLinear",
    "GFPGANClean",
    "GFPGANv1",
    "ModulatedConv",
    "OriginalStyleDecoder",
    "ScaledActivation",
    "StyleDecoder",
    "channels_by_size",
    "upsample_bilinear",
]
