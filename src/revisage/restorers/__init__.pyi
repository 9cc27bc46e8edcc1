from .restorer import FaceRestorer, NetRestorer, load_restorer
from .upscale import NetUpscaler, Upscaler, load_upscaler
from .weights import RestorerInfo, load_weights

__all__ = [
    "FaceRestorer",
    "NetRestorer",
    "NetUpscaler",
    "RestorerInfo",
    "Upscaler",
    "load_restorer",
    "load_upscaler",
    "load_weights",
]
