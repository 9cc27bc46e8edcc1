"""The job store: files and jobs in a database and a folder, who may work on them, and how work is asked for."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
