"""Training of the face detector: scenes, views of them, the two stages, and how well they find faces."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
