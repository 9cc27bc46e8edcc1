"""Network definitions only: no files, no devices.

`build` makes a network by its architecture's name, `infer_arch` recognises one by its state dict, `architecture` tells
what is known of one. Importing this package loads no torch: the definitions are imported when they are first needed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
