"""Restorers and upscalers: uint8 images in, uint8 images out, whatever network and engine is behind them.

Importing this room loads neither torch nor openvino.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
