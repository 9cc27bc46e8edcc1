"""Restorers and upscalers: uint8 images in, uint8 images out, whatever network and engine is behind them.

Importing this room loads neither torch nor openvino.
"""

from __future__ import annotations

from revisage.restorers.restorer import FaceRestorer, NetRestorer, load_restorer
from revisage.restorers.upscale import NetUpscaler, Upscaler, load_upscaler
from revisage.restorers.weights import RestorerInfo

__all__ = [
    "FaceRestorer",
    "NetRestorer",
    "NetUpscaler",
    "RestorerInfo",
    "Upscaler",
    "load_restorer",
    "load_upscaler",
]
