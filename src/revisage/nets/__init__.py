"""Network definitions only: no files, no devices.

`build` makes a network by its architecture name, `infer_arch` recognises one by its state dict. Importing this
package loads no torch: the definitions are imported by the first `build` that needs them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
