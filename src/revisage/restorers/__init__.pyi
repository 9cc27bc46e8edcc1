from .face_restorer import (
    FaceRestorer,
    FineRestorer,
    NetFineRestorer,
    NetRestorer,
    fine_weights_hash,
    load_fine_restorer,
    load_restorer,
)
from .network_files import RestorerInfo, check_model, describe, load_weights, ships_int8
from .upscaler import NetUpscaler, Upscaler, load_upscaler

__all__ = [
    "FaceRestorer",
    "FineRestorer",
    "NetFineRestorer",
    "NetRestorer",
    "NetUpscaler",
    "RestorerInfo",
    "Upscaler",
    "check_model",
    "describe",
    "fine_weights_hash",
    "load_fine_restorer",
    "load_restorer",
    "load_upscaler",
    "load_weights",
    "ships_int8",
]
