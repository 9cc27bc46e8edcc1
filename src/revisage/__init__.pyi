from ._version import __version__
from .api import (
    analyze,
    batch,
    detect_faces,
    drop_networks,
    evaluate,
    load_detector,
    load_restorer,
    probe,
    restore,
    restore_image,
    scan,
    verify,
)
from .core import Face, RestoreConfig, RestoreOptions, RevisageError, Track, UserError
from .live_stream import Stream, live
from .pipeline import ProcessRunner, Report, Runner, SerialRunner

__all__ = [
    "Face",
    "ProcessRunner",
    "Report",
    "RestoreConfig",
    "RestoreOptions",
    "RevisageError",
    "Runner",
    "SerialRunner",
    "Stream",
    "Track",
    "UserError",
    "__version__",
    "analyze",
    "batch",
    "detect_faces",
    "drop_networks",
    "evaluate",
    "live",
    "load_detector",
    "load_restorer",
    "probe",
    "restore",
    "restore_image",
    "scan",
    "verify",
]
