"""Videos through FFmpeg: read from any frame on, encoded by segments, joined with all that lies beside the pictures."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
