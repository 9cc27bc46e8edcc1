"""Errors, time, configuration, value types, progress and files that appear complete: what every room may know."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
