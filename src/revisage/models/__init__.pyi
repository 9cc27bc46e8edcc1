from .download import pull
from .loading import load_state, metadata
from .model_folder import compiled_path, folder, is_present, local_path, record_hash, recorded_hash, verify
from .registry import ModelEntry, entries, find

__all__ = [
    "ModelEntry",
    "compiled_path",
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
