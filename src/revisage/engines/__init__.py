"""Engines: what runs a network, and how this machine's best choice is found.

Importing this room loads neither torch nor openvino; the first engine made does.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
