"""Scan, Plan, segment jobs, runners and Report: the way of a file from source to output."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
