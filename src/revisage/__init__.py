"""revisage restores the faces in videos, animated images and photos, and leaves everything else as it was.

    >>> import revisage
    >>> report = revisage.restore("tape.mp4")            # doctest: +SKIP
    >>> faces = revisage.detect_faces(image)             # doctest: +SKIP

Importing the package is cheap: torch, cv2 and av are loaded by the first call that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from revisage._version import __version__

if TYPE_CHECKING:
    from revisage.api import detect_faces, load_restorer, probe, restore, restore_image, scan
    from revisage.core.config import RestoreConfig
    from revisage.core.errors import RevisageError
    from revisage.core.values import Face, Track

_HOMES = {
    "Face": "revisage.core.values",
    "RestoreConfig": "revisage.core.config",
    "RevisageError": "revisage.core.errors",
    "Track": "revisage.core.values",
    "detect_faces": "revisage.api",
    "load_restorer": "revisage.api",
    "probe": "revisage.api",
    "restore": "revisage.api",
    "restore_image": "revisage.api",
    "scan": "revisage.api",
}

__all__ = [
    "Face",
    "RestoreConfig",
    "RevisageError",
    "Track",
    "__version__",
    "detect_faces",
    "load_restorer",
    "probe",
    "restore",
    "restore_image",
    "scan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'revisage' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
