"""The restoring core: frames with planned faces in, finished frames out. It reads and writes no file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
