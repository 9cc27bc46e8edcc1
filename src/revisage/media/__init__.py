"""Reading and writing videos, animations and pictures without losing anything. Only this room knows pixel formats."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
