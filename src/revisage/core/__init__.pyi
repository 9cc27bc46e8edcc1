from .config import DETECTORS, Detector, RestoreConfig, make_config, nearest
from .errors import (
    CancelledError,
    ConfigError,
    DeviceError,
    DiskFullError,
    InputError,
    MissingExtraError,
    ModelError,
    OutputError,
    ProcessingError,
    RevisageError,
    ScanMismatchError,
    UserError,
)
from .progress import CancelToken, Progress, ProgressCallback
from .time import format_seconds
from .values import Box, Face, Region, Shot, Track

__all__ = [
    "DETECTORS",
    "Box",
    "CancelToken",
    "CancelledError",
    "ConfigError",
    "Detector",
    "DeviceError",
    "DiskFullError",
    "Face",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "OutputError",
    "ProcessingError",
    "Progress",
    "ProgressCallback",
    "Region",
    "RestoreConfig",
    "RevisageError",
    "ScanMismatchError",
    "Shot",
    "Track",
    "UserError",
    "format_seconds",
    "make_config",
    "nearest",
]
