"""Network definitions only: no files, no devices.

`build` makes a network by its architecture name, `infer_arch` recognises one by its state dict. Importing this
package loads no torch: the definitions are imported by the first `build` that needs them.
"""

from __future__ import annotations

# Imported at once, not by a lazy __getattr__: loading the submodule later would put it in the place of its function.
from revisage.nets.build import ARCHITECTURES, build, infer_arch

__all__ = ["ARCHITECTURES", "build", "infer_arch"]
