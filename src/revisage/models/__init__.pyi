from .differences import save_difference
from .download import pull
from .registry import ModelEntry, entries, find, find_usable
from .weight_files import (
    cache_folder,
    compiled_path,
    folder,
    is_present,
    load_state,
    local_path,
    metadata,
    record_hash,
    recorded_hash,
    verify,
)

__all__ = [
    "ModelEntry",
    "cache_folder",
    "compiled_path",
    "entries",
    "find",
    "find_usable",
    "folder",
    "is_present",
    "load_state",
    "local_path",
    "metadata",
    "pull",
    "record_hash",
    "recorded_hash",
    "save_difference",
    "verify",
]
