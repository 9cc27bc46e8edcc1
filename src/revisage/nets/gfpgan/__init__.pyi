from .clean import GFPGANClean
from .original import Blur, EqualConv, EqualLinear, GFPGANv1, OriginalStyleDecoder, ScaledActivation
from .stylegan2 import SLOPE, ModulatedConv, StyleDecoder, channels_by_size, upsample_bilinear

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
