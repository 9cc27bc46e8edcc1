"""Restoration behind an API: the job store, the workers and the HTTP service that share it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
