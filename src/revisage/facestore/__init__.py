"""The store of consented faces: pictures that people allowed to be kept, an index of them, and true deletion.

Importing this room loads no SQLAlchemy; :mod:`revisage.facestore.store` does, when a store is opened.
"""

from __future__ import annotations

from revisage.facestore.values import (
    Added,
    Consent,
    FaceSource,
    KeptFrame,
    KeptTrack,
    MadeWith,
    Person,
    StoredFace,
)

__all__ = ["Added", "Consent", "FaceSource", "KeptFrame", "KeptTrack", "MadeWith", "Person", "StoredFace"]
