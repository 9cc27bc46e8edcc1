"""What was altered: the label that a result carries, and how it is read again.

A restored face is an estimate. Whoever meets the file later should be able to tell, and by which network it was made.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
