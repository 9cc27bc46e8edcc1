from .loading import load_state, metadata
from .pull import pull
from .registry import ModelEntry, entries, find
from .store import folder, is_present, local_path, record_hash, recorded_hash, verify

__all__ = [
    "ModelEntry",
    "entries",
    "find",
    "folder",
    "is_present",
    "load_state",
    "local_path",
    "metadata",
    "pull",
    "record_hash",
    "recorded_hash",
    "verify",
]
