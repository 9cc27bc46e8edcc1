"""What a stranger may be told of an error: one line and a code, without paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revisage.core import (
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
)

__all__ = ["error_code", "public_error", "public_text", "public_values"]

_CODES: tuple[tuple[type[BaseException], str], ...] = (
    (ScanMismatchError, "bad_scan"),
    (InputError, "bad_input"),
    (DiskFullError, "disk_full"),
    (OutputError, "cannot_write"),
    (ConfigError, "bad_config"),
    (ModelError, "no_model"),
    (DeviceError, "no_device"),
    (MissingExtraError, "not_installed"),
    (CancelledError, "cancelled"),
    (ProcessingError, "failed"),
    (MemoryError, "no_memory"),
)
_ABSOLUTE = re.compile(r"(?<![\w./:…])(?:[A-Za-z]:)?[\\/](?:[^\s\\/:'\",;]+[\\/])+([^\s\\/:'\",;]*)")


def error_code(error: BaseException) -> str:
    """A word for programs."""
    own = getattr(error, "code", None)
    if isinstance(own, str):
        return own
    return next((code for kind, code in _CODES if isinstance(error, kind)), "internal")


def public_text(text: str, names: Mapping[Path, str]) -> str:
    """A message in one line in which known paths are replaced by ``names`` and others cut to their last part."""
    line = " ".join(text.split())
    for path, name in sorted(names.items(), key=lambda item: -len(str(item[0]))):
        line = line.replace(str(path), name)
    return _ABSOLUTE.sub(r"\1", line)


def public_error(error: BaseException, names: Mapping[Path, str]) -> str:
    """What to say about an error: its own message if it was raised on purpose."""
    if isinstance(error, RevisageError):
        return public_text(str(error), names)
    if isinstance(error, MemoryError):
        return "the work needs more memory than is allowed; try a smaller upscale or a smaller file"
    return f"an unexpected error stopped the work ({type(error).__name__})"


def public_values(value: Any, names: Mapping[Path, str]) -> Any:
    """JSON values with every text treated like :func:`public_text`."""
    if isinstance(value, str):
        return public_text(value, names) if ("/" in value or "\\" in value) else value
    if isinstance(value, list):
        return [public_values(item, names) for item in value]
    if isinstance(value, dict):
        return {key: public_values(item, names) for key, item in value.items()}
    return value
