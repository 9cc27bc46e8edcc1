"""Faces restored while they are filmed: cameras, pipes and displays, and the clock that drops instead of queueing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
