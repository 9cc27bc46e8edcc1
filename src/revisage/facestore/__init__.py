"""The store of consented faces: pictures that people allowed to be kept, an index of them, and true deletion.

Importing this room loads no SQLAlchemy; ``face_store`` does, when a store is opened.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
