"""Every measure once: its function, name, unit, which way is better, and the paper. Training, evaluation and the report
of a run read :data:`MEASURES`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
