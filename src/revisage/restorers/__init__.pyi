from .face_restorer import FaceRestorer, NetRestorer, load_restorer
from .network_files import RestorerInfo, check_model, load_weights
from .upscaler import NetUpscaler, Upscaler, load_upscaler

__all__ = [
    "FaceRestorer",
    "NetRestorer",
    "NetUpscaler",
    "RestorerInfo",
    "Upscaler",
    "check_model",
    "load_restorer",
    "load_upscaler",
    "load_weights",
]
