"""Find faces with landmarks in images of any size, by the embedded network or an official one."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
