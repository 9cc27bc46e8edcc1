"""Face readers: aligned crops in; who it is, where the head points, what eyes and mouth do, and what is hidden, out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
