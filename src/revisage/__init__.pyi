from ._version import __version__
from .api import detect_faces, load_restorer, probe, restore, restore_image, scan
from .core import Face, RestoreConfig, RevisageError, Track

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
