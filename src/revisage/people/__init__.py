"""People over a whole video: who is seen when, how they hold their heads, and what their faces show."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
