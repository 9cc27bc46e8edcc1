"""The workers: processes that lease jobs, do what each kind asks for, and are seen to."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
