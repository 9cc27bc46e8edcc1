"""Out of one machine: the segments of a film, or the files of a batch, restored by the workers of a Ray cluster."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
