"""Damage that networks learn to undo: presets by name, for pictures and clips, the same for the same seed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
